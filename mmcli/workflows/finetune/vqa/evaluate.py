"""`evaluate predictions` of answers: the VQA score with intervals, by type of question.

Reads a predictions directory, by mmcli or any other program, with `id`, `label` and `prediction` as
texts; `answers`, a list of texts, one an annotator, wins over `label`; `question_type` (or `type`)
and `image` where they are there. An answer is scored whether or not a vocabulary has it. Prints
nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.answers import cell_answers
from mmcli.metrics.statistics import LEVEL, bootstrap_means, sign_flip_test
from mmcli.metrics.vqa import accuracy_by_type, answer_scores, normalised
from mmcli.report.charts import Interval, interval_chart
from mmcli.report.page import figure, page, rows_table, section
from mmcli.store.atomic import write_bytes
from mmcli.store.hashes import check_files
from mmcli.store.manifest import file_path, read_manifest
from mmcli.store.parquet import open_parquet, read_rows
from mmcli.workflows.evaluate.predictions import PredictionsConfig
from mmcli.workflows.finetune.vqa.judge import MEASURE
from mmcli.workflows.output_files import refuse_page

KIND = "mmcli.predictions"
EXACT = "exact"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Given:
    """What a directory says, row by row. truth: normalised, one an annotator; () where unknown."""

    ids: list[str]
    said: list[str | None]
    truth: list[tuple[str, ...]]
    types: list[str]
    groups: list[str]

    def scores(self, rows: Sequence[int], truth: Sequence[tuple[str, ...]]) -> Floats:
        """The VQA score of these rows, and whether any annotator gave the answer, `(rows, 2)`."""
        found = np.zeros((len(rows), 2))
        for i, (row, given) in enumerate(zip(rows, truth, strict=True)):
            text = normalised(self.said[row] or "")
            found[i] = answer_scores(given).get(text, 0.0), text in given
        return found

    def numbers(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """int64 `(rows,)` from 0: rows that are drawn together."""
        names = [self.groups[row] for row in rows]
        return np.unique(names, return_inverse=True)[1].astype(np.int64)


def evaluate_vqa(
    config: PredictionsConfig, message: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Score answers and report; write the page if it was asked for.

    Rows of one picture are resampled together. Raises UsageError for options that do not fit,
    BadInput, naming the file, for predictions that cannot be scored.
    """
    if config.bootstrap < 0:
        raise UsageError(
            f"`--bootstrap {config.bootstrap}`: must be at least 0", "0 leaves the intervals out"
        )
    refuse_page(config.html, config.force)
    mine = read_given(config.predictions, config.verify)
    silent = sum(text is None for text in mine.said)
    rows = [i for i, given in enumerate(mine.truth) if given and mine.said[i] is not None]
    if not rows:
        raise BadInput(
            f"`{config.predictions}` has no row with a prediction whose answer is known",
            "predict rows that have `answer` or `answers`",
        )
    message(f"{len(rows)} of {len(mine.ids)} rows are scored")
    truth = [mine.truth[row] for row in rows]
    groups = mine.numbers(rows)
    scores = mine.scores(rows, truth)
    found = bootstrap_means(scores, config.bootstrap, config.seed, groups)
    best = [next(iter(answer_scores(given).values())) for given in truth]
    types = [mine.types[row] for row in rows]
    by_type = accuracy_by_type(scores[:, 0], types, config.bootstrap, config.seed, groups)
    report: dict[str, Any] = {
        "predictions": config.predictions,
        "task": "vqa",
        "rows": len(mine.ids),
        "scored": len(rows),
        "without_label": sum(not given for given in mine.truth),
        "without_prediction": silent,
        "best_possible": float(np.mean(best)),
        "measures": {
            name: {
                "value": float(found.value[i]),
                "low": float(found.low[i]),
                "high": float(found.high[i]),
            }
            for i, name in enumerate((MEASURE, EXACT))
        },
        "intervals": {
            "level": LEVEL,
            "resamples": config.bootstrap,
            "groups": "image",
            "drawn": int(groups.max()) + 1,
            "seed": config.seed,
        },
        "per_type": [
            {
                "type": of.type,
                "rows": of.rows,
                MEASURE: of.value,
                "low": of.low,
                "high": of.high,
            }
            for of in by_type
            if of.type != "all"
        ],
        "warnings": [f"{silent} rows have no prediction: not scored"] if silent else [],
    }
    if config.against is not None:
        message(f"against {config.against}")
        report["against"] = _against(config, mine, rows)
    if config.html:
        write_bytes(Path(config.html), _page(report).encode())
    return report


def read_given(path: str | Path, verify: str = "once") -> Given:
    """A predictions directory of answers. Raises BadInput when a column is missing."""
    path = Path(path)
    manifest = read_manifest(path, KIND)
    if "files" in manifest:
        check_files(path, manifest, None, verify)
    items = file_path(path, str(manifest.get("items", "items.parquet")))
    file = open_parquet(items)
    names = list(file.schema_arrow.names)
    for name in ("id", "label", "prediction"):
        if name not in names:
            raise BadInput(
                f"`{items}` has no column `{name}`", "predictions have id, label and prediction"
            )
    optional = ("answers", "question_type", "type", "image")
    wanted = ["id", "label", "prediction", *(name for name in optional if name in names)]
    table = read_rows(file, items, wanted)
    columns = {name: table.column(name).to_pylist() for name in wanted}
    ids = [str(value) for value in columns["id"]]
    if len(set(ids)) < len(ids):
        raise BadInput(f"`{items}` names an id twice", "correct the table")
    types = columns.get("question_type") or columns.get("type") or [None] * len(ids)
    pictures = columns.get("image") or [None] * len(ids)
    label = [None if value is None else str(value) for value in columns["label"]]
    annotators = columns.get("answers") or [None] * len(ids)
    return Given(
        ids=ids,
        said=[None if value is None else str(value) for value in columns["prediction"]],
        truth=[
            cell_answers(several if several else one)
            for one, several in zip(label, annotators, strict=True)
        ],
        types=["" if value is None else str(value) for value in types],
        groups=[f"row {i}" if value is None else str(value) for i, value in enumerate(pictures)],
    )


def _against(config: PredictionsConfig, mine: Given, rows: Sequence[int]) -> dict[str, Any]:
    """This minus the other on the rows of both, judged by this one's answers."""
    other = read_given(str(config.against), config.verify)
    places = {name: i for i, name in enumerate(other.ids) if other.said[i] is not None}
    both = [row for row in rows if mine.ids[row] in places]
    if not both:
        raise BadInput(
            f"`{config.against}` and `{config.predictions}` share no row that is scored",
            "predict the same rows with both models",
        )
    truth = [mine.truth[row] for row in both]
    this = mine.scores(both, truth)
    theirs = other.scores([places[mine.ids[row]] for row in both], truth)
    groups = mine.numbers(both)
    gains = bootstrap_means(this - theirs, config.bootstrap, config.seed, groups)
    p = sign_flip_test(this - theirs, config.seed, groups)
    measures = {
        name: {
            "this": float(this[:, i].mean()),
            "other": float(theirs[:, i].mean()),
            "difference": float(gains.value[i]),
            "low": float(gains.low[i]),
            "high": float(gains.high[i]),
            "p": float(p[i]),
        }
        for i, name in enumerate((MEASURE, EXACT))
    }
    return {"path": config.against, "rows": len(both), "measures": measures}


def _page(report: Mapping[str, Any]) -> str:
    measures = [{"measure": name, **values} for name, values in report["measures"].items()]
    bars = [
        Interval(row["type"], row[MEASURE], row["low"], row["high"]) for row in report["per_type"]
    ]
    blocks = [section("Measures", [rows_table(measures)])]
    if bars:
        chart = figure(interval_chart(bars), f"{MEASURE} and its 95 % interval over pictures")
        blocks.append(section("By type of question", [rows_table(report["per_type"]), chart]))
    if "against" in report:
        other = report["against"]
        rows = [{"measure": name, **values} for name, values in other["measures"].items()]
        blocks.append(section(f"Against {other['path']}", [rows_table(rows)]))
    return page(f"answers of {report['predictions']}", blocks)
