"""`predict`: what a model says of every row of a store, as a predictions directory.

Prints nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.core.errors import UsageError
from mmcli.data.splits import SplitOptions, split_rows
from mmcli.fusion.model import FusionModel
from mmcli.store.reader import Store
from mmcli.store.slugs import slug_of
from mmcli.workflows.finetune.features import is_store
from mmcli.workflows.fuse.open import absent_warnings, inputs_for
from mmcli.workflows.fuse.parts import MOST_MODALITIES, row_contributions, subset_shares
from mmcli.workflows.fuse.rows import own_seen_warning, own_splits
from mmcli.workflows.output_files import refuse_input
from mmcli.workflows.predict.kinds import other_kind
from mmcli.workflows.predict.labels import known_labels, probability_columns
from mmcli.workflows.predict.source import SourceConfig, extracted
from mmcli.workflows.predictions.files import check_predictions, write_store_predictions

_ROWS = 4096


@dataclass(frozen=True)
class PredictConfig:
    """What `mmcli predict` can be told.

    store: a store, or a source. source: what is said of such. split: only rows of this split, ""
    for all. without: modalities taken as absent.
    contributions: Shapley values of the modalities beside each prediction.
    """

    model: str
    store: str
    output: str
    split: str = ""
    splits: SplitOptions = field(default_factory=SplitOptions)
    without: tuple[str, ...] = ()
    contributions: bool = False
    source: SourceConfig = field(default_factory=SourceConfig)
    verify: str = "once"
    force: bool = False
    dry_run: bool = False


def predict(
    config: PredictConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
    message: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Write predictions and report how many; of raw files through the model's own encoders.

    Raises SpaceMismatch when the store was not made as the one the model was trained on.
    """
    refuse_input(config.output, [config.store])
    other = other_kind(config.model)
    if other is not None:
        report: dict[str, Any] = other(config, progress, message)
        return report
    model = FusionModel.open(config.model, config.verify)
    if is_store(config.store):
        return _on_store(config, model, progress)
    check_predictions(Path(config.output), config.force)
    with extracted(
        model, config.store, config.output, config.source, message, progress
    ) as features:
        report = _on_store(replace(config, store=features), model, progress)
    return {**report, "store": config.store}


def _on_store(
    config: PredictConfig, model: FusionModel, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    store = Store.open(config.store, config.verify)
    inputs = inputs_for(model, store, config.without)
    if config.contributions and len(inputs.names) > MOST_MODALITIES:
        raise UsageError(
            f"`--contributions` of {len(inputs.names)} modalities", f"at most {MOST_MODALITIES}"
        )
    rows, warnings = _rows(model, store, config)
    check_predictions(Path(config.output), config.force)
    truth, unknown = known_labels(model.config["label"], store, model.path)
    classes = list(model.config["label"]["classes"])
    columns = probability_columns(classes)
    there = inputs.present(rows)
    there[:, [inputs.names.index(name) for name in config.without]] = False
    none = ~there.any(1)
    report = {
        "predictions": config.output,
        "model": config.model,
        "store": config.store,
        "task": model.config["task"],
        "label": model.config["label"]["column"],
        "rows": len(rows),
        "labelled": None if truth is None else int(sum(truth[row] is not None for row in rows)),
        "without_any_part": int(none.sum()),
        "warnings": [
            *warnings,
            *absent_warnings(model, store, inputs, config.without),
            *(own_seen_warning(model, store, rows) if config.split else []),
            *unknown,
        ],
    }
    if config.dry_run:
        return {"dry_run": True, **report}
    names = inputs.names if config.contributions else ()
    schema = _schema(model, columns, names)
    ids = store.ids()

    def blocks() -> Iterator[list[Any]]:
        for at in range(0, len(rows), _ROWS):
            part = rows[at : at + _ROWS]
            yield _block(model, inputs, part, ids, truth, schema, config)
            progress(min(at + _ROWS, len(rows)), len(rows))

    write_store_predictions(
        Path(config.output),
        schema,
        blocks(),
        {
            "task": model.config["task"],
            "rows": len(rows),
            "label": model.config["label"]["column"],
            "classes": columns,
            "order": classes,
            "contributions": {name: f"contribution_{slug_of(name)}" for name in names},
            "method": model.spec.name,
            **({"finetuned": model.config["finetuned"]} if model.config.get("finetuned") else {}),
        },
        store=store,
        model=model.path,
        options={"split": config.split, "without": list(config.without)},
        force=config.force,
    )
    return report


def _rows(model: FusionModel, store: Store, config: PredictConfig) -> tuple[Any, list[str]]:
    """All rows, or those of a split: on the store it was trained on, the model's own splits."""
    if not config.split:
        return np.arange(store.rows, dtype=np.int64), []
    options, warnings = own_splits(model, store, config.splits)
    splits = split_rows(store, options, train=True)
    return splits.asked_rows(config.split, store.path), warnings


def _schema(model: FusionModel, columns: dict[str, str], names: tuple[str, ...]) -> pa.Schema:
    kinds = {"regression": pa.float64(), "multilabel": pa.list_(pa.string())}
    kind = kinds.get(model.config["task"], pa.string())
    extra = [*columns.values(), *(f"contribution_{slug_of(name)}" for name in names)]
    extra += ["contribution_nothing"] if names else []
    return pa.schema(
        [("id", pa.string()), ("label", kind), ("prediction", kind)]
        + [(name, pa.float64()) for name in extra]
    )


def _block(
    model: FusionModel,
    inputs: Any,
    rows: Any,
    ids: list[str],
    truth: list[Any] | None,
    schema: pa.Schema,
    config: PredictConfig,
) -> list[Any]:
    objective = model.objective
    shares = np.concatenate([s for _, _, s in model.apply(inputs, rows, config.without)])
    columns: list[Any] = [
        [ids[row] for row in rows],
        [None if truth is None else truth[row] for row in rows],
        _said(model, shares),
    ]
    if objective.kind != "number":
        columns += list(shares.T)
    if config.contributions:
        each = subset_shares(
            model.network, model.spec.view, objective, inputs, rows, config.without
        )
        values, nothing = row_contributions(each, objective, len(inputs.names))
        columns += [*values, nothing]
    return [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]


def _said(model: FusionModel, shares: Any) -> list[Any]:
    """Predictions as they are written: names of classes, lists of them, or numbers."""
    predicted = model.objective.predicted(shares)
    if model.objective.kind == "number":
        return predicted.tolist()
    names = np.array(model.config["label"]["classes"], object)
    if model.objective.kind == "several":
        return [names[row > 0].tolist() for row in predicted]
    return names[predicted].tolist()
