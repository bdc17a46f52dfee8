"""How good answers are: the VQA score with intervals, by type of question, against other models.

Judges a run's own models, and any predictions directory of answers. Prints nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput
from mmcli.data.answers import Answers, cell_answers
from mmcli.metrics.statistics import Groups, bootstrap_means, sign_flip_test
from mmcli.metrics.vqa import accuracy_by_type, answer_scores, normalised
from mmcli.store.hashes import check_files
from mmcli.store.manifest import file_path, read_manifest
from mmcli.store.parquet import open_parquet, read_rows
from mmcli.tasks.vqa_tokens import Rows

KIND = "mmcli.predictions"
MEASURE = "vqa_accuracy"
RESAMPLES = 1000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Said:
    """What one model answered. scores: of each row."""

    name: str
    answers: tuple[str, ...]
    scores: Floats


def said(name: str, given: Sequence[str], answers: Answers, rows: Rows) -> Said:
    """The answers of a model to these rows, scored. given: normalised texts."""
    scores = [answers.score(row, text) for row, text in zip(rows.tolist(), given, strict=True)]
    return Said(name, tuple(given), np.array(scores, np.float64))


def score_row(one: Said, groups: Groups, seed: int) -> dict[str, Any]:
    """One row of the table: the mean score and its 95 % interval."""
    found = bootstrap_means(one.scores[:, None], RESAMPLES, seed, groups)
    return {
        "model": one.name,
        MEASURE: float(found.value[0]),
        "low": float(found.low[0]),
        "high": float(found.high[0]),
    }


def by_type(
    models: Sequence[Said], types: Sequence[str], groups: Groups, seed: int
) -> list[dict[str, Any]]:
    """A row a type of question: how many, and the score of each model, the first with interval."""
    table: list[dict[str, Any]] = []
    for number, one in enumerate(models):
        for place, of in enumerate(accuracy_by_type(one.scores, types, RESAMPLES, seed, groups)):
            if not number:
                table.append({"type": of.type, "rows": of.rows})
            table[place][one.name] = of.value
            if not number:
                table[place] |= {"low": of.low, "high": of.high}
    return table


def verdict(one: Said, other: Said, groups: Groups, seed: int) -> dict[str, Any]:
    """The paired difference, its interval, and p by random signs of whole groups."""
    gains = (one.scores - other.scores)[:, None]
    found = bootstrap_means(gains, RESAMPLES, seed, groups)
    return {
        "method": one.name,
        "against": other.name,
        "measure": MEASURE,
        "gain": float(found.value[0]),
        "low": float(found.low[0]),
        "high": float(found.high[0]),
        "p": float(sign_flip_test(gains, seed, groups)[0]),
    }


def line_of(found: Mapping[str, Any]) -> str:
    """A verdict in words."""
    return (
        f"{found['method']} against {found['against']}: {found['gain']:+.3f}, 95 % interval"
        f" {found['low']:+.3f} to {found['high']:+.3f}, p {found['p']:.2g}"
    )


def score_predictions(
    path: str | Path,
    *,
    against: str | None = None,
    group_by: str | None = None,
    verify: str = "once",
    seed: int = 0,
    message: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Score a predictions directory of answers; what `evaluate predictions --task vqa` reports.

    It has `id`, `label` and `prediction`, texts; `answers`, a list of texts, one an annotator,
    wins over `label`; `question_type` (or `type`) and `image` where they are there. A prediction is
    scored whether or not any vocabulary has the answer. group_by: a column whose rows are drawn
    together, by default `image`. Raises BadInput for a directory that cannot be scored.
    """
    mine = _read(Path(path), group_by, verify)
    known = [i for i, given in enumerate(mine["given"]) if given]
    if not known:
        raise BadInput(f"`{path}` has no answer to compare with in any row", "`label` or `answers`")
    message(f"{len(known)} of {len(mine['ids'])} rows have answers")
    one = _scored(str(path), mine, known)
    groups = np.unique([mine["groups"][i] for i in known], return_inverse=True)[1].astype(np.int64)
    types = [mine["types"][i] for i in known]
    best = [next(iter(answer_scores(mine["given"][i]).values())) for i in known]
    report: dict[str, Any] = {
        "predictions": str(path),
        "task": "vqa",
        "rows": len(mine["ids"]),
        "scored": len(known),
        "best_possible": float(np.mean(best)),
        "table": [score_row(one, groups, seed)],
        "by_type": by_type([one], types, groups, seed),
    }
    report["tables"] = {"": report["table"], "by type of question": report["by_type"]}
    if against is not None:
        theirs = _read(Path(against), None, verify)
        places = {id_: i for i, id_ in enumerate(theirs["ids"])}
        both = [i for i in known if mine["ids"][i] in places]
        if not both:
            raise BadInput(f"`{path}` and `{against}` share no row", "they are compared by id")
        moved = {**theirs, "given": {places[mine["ids"][i]]: mine["given"][i] for i in both}}
        other = _scored(against, moved, [places[mine["ids"][i]] for i in both])
        shared = np.unique([mine["groups"][i] for i in both], return_inverse=True)[1]
        found = verdict(_scored(str(path), mine, both), other, shared.astype(np.int64), seed)
        report["against"] = {"rows": len(both), **found}
        report["lines"] = [line_of(found)]
    return report


def _read(path: Path, group_by: str | None, verify: str) -> dict[str, Any]:
    manifest = read_manifest(path, KIND)
    if "files" in manifest:
        check_files(path, manifest, None, verify)
    items = file_path(path, str(manifest.get("items", "items.parquet")))
    file = open_parquet(items)
    names = file.schema_arrow.names
    for name in ("id", "label", "prediction", *([group_by] if group_by else [])):
        if name not in names:
            raise BadInput(f"`{items}` has no column `{name}`", "columns: " + ", ".join(names[:12]))
    table = read_rows(file, items, list(names))
    columns = {n: table.column(n).to_pylist() for n in names if not n.startswith("probability_")}
    ids = [str(value) for value in columns["id"]]
    given = [cell_answers(value) for value in columns.get("answers", columns["label"])]
    alone = [f"{i}" for i in range(len(ids))]
    groups = columns.get(group_by or "image", alone)
    types = columns.get("question_type") or columns.get("type") or [""] * len(ids)
    return {
        "ids": ids,
        "given": given,
        "said": columns["prediction"],
        "groups": [str(value) for value in groups],
        "types": ["" if value is None else str(value) for value in types],
    }


def _scored(name: str, read: Mapping[str, Any], rows: Sequence[int]) -> Said:
    texts = [normalised(str(read["said"][i] or "")) for i in rows]
    scores = [
        answer_scores(read["given"][i]).get(text, 0.0) for i, text in zip(rows, texts, strict=True)
    ]
    return Said(name, tuple(texts), np.array(scores, np.float64))
