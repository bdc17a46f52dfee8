"""`predict` with a model that answers questions: an answer to every row, as predictions.

Of raw files each distinct picture and question is encoded once, beside the predictions until these
are there. Prints nothing.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.core.errors import UsageError
from mmcli.core.registry import suggestion
from mmcli.data.answers import Answers
from mmcli.data.splits import SplitOptions
from mmcli.store.bindings import compare_binding
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.slugs import slug_of
from mmcli.tasks.vqa_learning import BOTH, Run, probabilities
from mmcli.tasks.vqa_tokens import Asked, Rows, blocks
from mmcli.workflows.finetune.vqa.data import VqaRows, read_rows
from mmcli.workflows.finetune.vqa.features import (
    Wanted,
    bank_of,
    open_tokens,
    place_network,
    refuse_long,
)
from mmcli.workflows.finetune.vqa.files import VqaModel, open_vqa_model
from mmcli.workflows.finetune.vqa.judge import MEASURE, said, score_row
from mmcli.workflows.listeners import Listeners
from mmcli.workflows.predict.raw import RawPredict, raw_options
from mmcli.workflows.predict.run import PredictConfig
from mmcli.workflows.predict.source import hidden_store
from mmcli.workflows.predictions.files import check_predictions, write_prediction_table

#: Answers with a column of probabilities: all of a small vocabulary, else the most frequent ones.
MOST_COLUMNS = 50
_BLOCK = 2048


def predict(
    config: PredictConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
    message: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """What `mmcli predict` calls for such a model. Raises UsageError for what only fusions have."""
    return predict_vqa(RawPredict(**raw_options(config)), Listeners(message, progress))


def predict_vqa(config: RawPredict, listeners: Listeners | None = None) -> dict[str, Any]:
    """Write an answer to every row, and say how many and, where answers are known, how good.

    Raises SpaceMismatch for a store that was not made as the model's own, BadInput, naming the row,
    for a row that cannot be asked, before any answer is written.
    """
    listeners = listeners or Listeners()
    model = open_vqa_model(config.model, config.verify)
    for name in config.without:
        if name not in BOTH:
            raise UsageError(f"`--without {name}`", suggestion(name, BOTH))
    if len(set(config.without)) == len(BOTH):
        raise UsageError("`--without image,text` leaves nothing", "name one")
    check_predictions(Path(config.output), config.force)
    rows = _read(model, config)
    chosen, warnings = _rows(model, rows, config)
    report: dict[str, Any] = {
        "predictions": config.output,
        "model": config.model,
        "data": config.data,
        "task": "vqa",
        "label": rows.answers.column if rows.answers else None,
        "rows": len(chosen),
        "labelled": int(rows.answers.known[chosen].sum()) if rows.answers else None,
        "warnings": [*rows.lines, *warnings],
    }
    if config.dry_run:
        return {"dry_run": True, **report}
    place_ = hidden_store(config.output)
    if place_.exists() and not config.resume:
        shutil.rmtree(place_)
    asked, lines = _asked(model, rows, chosen, config, place_, listeners)
    report["warnings"] += lines
    answerable = chosen[_answerable(asked, chosen, config.without)]
    report["unanswered"] = len(chosen) - len(answerable)
    placement = place_network(config.device, config.precision)
    reads = tuple(name for name in BOTH if name not in config.without)
    run = Run(placement.device, placement.dtype, reads)
    network = model.network.to(placement.device)
    shares = []
    for part in blocks(answerable, _BLOCK):
        shares.append(probabilities(network, asked, part, run))
        listeners.progress(sum(map(len, shares)), len(answerable))
    found = np.concatenate(shares) if shares else np.zeros((0, len(model.answers)), np.float32)
    _write(model, rows, chosen, answerable, found, config)
    shutil.rmtree(place_, ignore_errors=True)
    if rows.answers is not None:
        report |= _scores(model, rows, rows.answers, answerable, found)
    return report


def _read(model: VqaModel, config: RawPredict) -> VqaRows:
    own = str(model.config["label"])
    rows = read_rows(
        config.data,
        config.label,
        root=config.root,
        mapping=config.mapping,
        verify=config.verify,
        need_answers=bool(config.label),
    )
    if rows.answers is None and own in rows.table.columns:
        rows = read_rows(
            config.data, own, root=config.root, mapping=config.mapping, verify=config.verify
        )
    refuse_long(rows, _wanted(model, config))
    return rows


def _rows(model: VqaModel, rows: VqaRows, config: RawPredict) -> tuple[Rows, list[str]]:
    """All rows, or those of a split: of the data it was trained on, the model's own splits."""
    every = np.arange(rows.table.rows, dtype=np.int64)
    if not config.split:
        return every, []
    options, warnings = config.splits, []
    if rows.fingerprint == model.config["source"]["fingerprint"]:
        plain = replace(options, group_by=None, seed=0)
        if plain == SplitOptions():
            options = SplitOptions(**model.config["splits"])
        if config.split in ("train", "val"):
            warnings.append(f"the rows of {config.split} trained the model, or chose its epoch")
    splits = rows.splits(options)
    return splits.asked_rows(config.split, config.data), warnings


def _wanted(model: VqaModel, config: RawPredict) -> Wanted:
    return Wanted(
        encoders=model.encoders,
        layers=model.layers,
        patches=model.patches,
        workers=config.workers,
        on_error="skip",
        device=config.device,
        precision=config.precision,
    )


def _asked(
    model: VqaModel,
    rows: VqaRows,
    chosen: Rows,
    config: RawPredict,
    folder: Path,
    listeners: Listeners,
) -> tuple[Asked, list[str]]:
    """The tokens of the chosen rows, of the very keys that the model was trained on."""
    if rows.store is None:
        usable = np.zeros(rows.table.rows, bool)
        usable[chosen] = True
        features = open_tokens(
            replace(rows, usable=usable & rows.usable), _wanted(model, config), folder, listeners
        )
        stores = {
            "image": features.asked.pictures.store,
            "text": features.asked.questions.store,
        }
        places = features.asked.picture_of, features.asked.question_of
        lines = features.lines
    else:
        stores = dict.fromkeys(BOTH, rows.store)
        every = np.arange(rows.store.rows, dtype=np.int64)
        places, lines = (every, every), []
    for name, store in stores.items():
        for key, bound in model.bindings[name].items():
            compare_binding(bound, store.key(key), key, model.path, store)
    banks = {n: bank_of(stores[n], model.bindings[n], n, model.patches) for n in BOTH}
    return Asked(banks["image"], banks["text"], *places), lines


def _answerable(asked: Asked, rows: Rows, without: tuple[str, ...]) -> Any:
    """bool `(len(rows),)`: which rows have all that the model is to see of them."""
    there = np.ones(len(rows), bool)
    for name, places, bank in (
        ("image", asked.picture_of, asked.pictures),
        ("text", asked.question_of, asked.questions),
    ):
        if name not in without:
            mine = places[rows]
            there &= (mine >= 0) & bank.present[np.maximum(mine, 0)]
    return there


def _columns(answers: tuple[str, ...]) -> dict[str, str]:
    """The columns of probabilities, by answer."""
    shown = answers[:MOST_COLUMNS]
    columns = {text: f"probability_{slug_of(text)}" for text in shown}
    if len(set(columns.values())) < len(columns):
        columns = {text: f"probability_{i}" for i, text in enumerate(shown)}
    return columns


def _write(
    model: VqaModel,
    rows: VqaRows,
    chosen: Rows,
    answerable: Rows,
    shares: Any,
    config: RawPredict,
) -> None:
    columns = _columns(model.answers)
    texts = pa.list_(pa.string())
    schema = pa.schema(
        [("id", pa.string()), ("label", pa.string()), ("prediction", pa.string())]
        + [("confidence", pa.float32()), ("image", pa.string()), ("question", pa.string())]
        + [("question_type", pa.string()), ("answers", texts)]
        + [(name, pa.float32()) for name in columns.values()]
    )
    place_of = {int(row): i for i, row in enumerate(answerable)}
    order = [place_of.get(int(row)) for row in chosen]
    best = shares.argmax(axis=1) if len(shares) else np.zeros(0, np.int64)
    given: Answers | None = rows.answers
    block: list[Any] = [
        [rows.ids[row] for row in chosen],
        [given.best(row) if given else None for row in chosen.tolist()],
        [None if i is None else model.answers[int(best[i])] for i in order],
        [None if i is None else float(shares[i, best[i]]) for i in order],
        [rows.images[row] for row in chosen],
        [rows.questions[row] for row in chosen],
        [rows.types[row] or None for row in chosen],
        [list(given.given[row]) or None if given else None for row in chosen],
    ]
    for number in range(len(columns)):
        block.append([None if i is None else float(shares[i, number]) for i in order])
    model_sha = file_record(model.path / MANIFEST)["sha256"]
    write_prediction_table(
        Path(config.output),
        schema,
        [[pa.array(c, f.type) for c, f in zip(block, schema, strict=True)]],
        {
            "task": "vqa",
            "rows": len(chosen),
            "label": given.column if given else None,
            "classes": columns,
            "order": list(columns),
            "vocabulary": len(model.answers),
            "source": {"path": config.data, "fingerprint": rows.fingerprint},
            "model": {"path": str(model.path.resolve()), "manifest_sha256": model_sha},
            "method": model.config["method"],
            "split": config.split,
            "without": list(config.without),
        },
        options={"model": model_sha, "split": config.split, "without": list(config.without)},
        origin=rows.fingerprint,
        force=config.force,
    )


def _scores(
    model: VqaModel, rows: VqaRows, answers: Answers, answerable: Rows, shares: Any
) -> dict[str, Any]:
    """The score of the rows whose answers are known."""
    known = answers.known[answerable]
    if not known.any():
        return {}
    of = answerable[known]
    given = [model.answers[i] for i in shares[known].argmax(axis=1).tolist()]
    row = score_row(said("", given, answers, of), rows.groups(None, of), 0)
    return {MEASURE: row[MEASURE], "low": row["low"], "high": row["high"]}
