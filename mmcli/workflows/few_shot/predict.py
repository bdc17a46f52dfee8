"""`predict` with a few-shot model: a class and the probability of each, for every row.

Prints nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.splits import SplitOptions, split_rows
from mmcli.store.bindings import compare_binding
from mmcli.store.manifest import MANIFEST, file_path, file_record
from mmcli.store.reader import Store
from mmcli.tuning.few_shot.model import FewShotModel
from mmcli.workflows.few_shot.features import FeatureReader
from mmcli.workflows.finetune.features import is_store
from mmcli.workflows.predict.labels import known_labels, probability_columns
from mmcli.workflows.predict.source import extracted
from mmcli.workflows.predictions.files import check_predictions, write_store_predictions

if TYPE_CHECKING:
    from mmcli.workflows.predict.run import PredictConfig

Rows = NDArray[np.int64]
_ROWS = 4096


def predict(
    config: "PredictConfig",
    progress: Callable[[int, int], None] = lambda done, total: None,
    message: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Write predictions and report how many; of raw files through the model's own encoders.

    Raises SpaceMismatch when the store was not made as the one the model was made from.
    """
    if config.without or config.contributions:
        option = "--without" if config.without else "--contributions"
        raise UsageError(f"`{option}` is of fusions", f"`{config.model}` reads one modality")
    model = FewShotModel.open(config.model, config.verify)
    if is_store(config.store):
        return _on_store(config, model, progress)
    check_predictions(Path(config.output), config.force)
    reads: Any = model  # whose config says keys and views as a fusion's does
    source = config.source
    with extracted(reads, config.store, config.output, source, message, progress) as features:
        report = _on_store(replace(config, store=features), model, progress)
    return {**report, "store": config.store}


def predict_few_shot(
    model: FewShotModel | str | Path, store: Store, rows: Rows
) -> NDArray[np.float64]:
    """Probabilities `(rows, classes)`, classes as in `model.classes`.

    model: or its directory. A row that lacks a vector gets the shares of the train rows. Raises
    BadInput for a key that the store lacks, SpaceMismatch for one that another encoder made.
    """
    if not isinstance(model, FewShotModel):
        model = FewShotModel.open(model)
    reader = features_for(model, store)
    found = np.tile(model.unknown(), (len(rows), 1))
    there = np.flatnonzero(reader.present[rows])
    for at in range(0, len(there), _ROWS):
        part = there[at : at + _ROWS]
        features, shared = reader.take(np.asarray(rows)[part])
        found[part] = model.probabilities(features, shared)
    return found


def features_for(model: FewShotModel, store: Store) -> FeatureReader:
    """What the model reads of a store; `present` is false where a row lacks any of it."""
    bound = {key: told for keys in model.config["keys"].values() for key, told in keys.items()}
    text_key = model.config["text_key"]
    for key in [*model.config["columns"], *([text_key] if text_key else [])]:
        if key not in store.keys:
            raise BadInput(
                f"`{store.path}` has no key `{key}`, which `{model.path}` reads",
                "extract it the same way",
            )
        compare_binding(bound[key], store.keys[key], key, model.path, store)
    return FeatureReader.open(store, tuple(model.config["columns"]), text_key)


def split_file_of(model: FewShotModel) -> str:
    """The model's own splits of the store that it was made from, as `--split-file` takes them."""
    return str(file_path(model.path, str(model.manifest["splits"])))


def _on_store(
    config: "PredictConfig", model: FewShotModel, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    store = Store.open(config.store, config.verify)
    reader = features_for(model, store)
    rows, warnings = _rows(model, store, config)
    check_predictions(Path(config.output), config.force)
    truth, unknown = known_labels(model.config["label"], store, model.path)
    report = {
        "predictions": config.output,
        "model": config.model,
        "store": config.store,
        "task": model.config["task"],
        "label": model.config["label"]["column"],
        "rows": len(rows),
        "labelled": None if truth is None else sum(truth[row] is not None for row in rows),
        "without_any_part": int((~reader.present[rows]).sum()),
        "warnings": [*warnings, *unknown],
    }
    if config.dry_run:
        return {"dry_run": True, **report}
    columns = probability_columns(model.classes)
    ids, names = store.ids(), np.array(model.classes, object)
    schema = pa.schema(
        [(name, pa.string()) for name in ("id", "label", "prediction")]
        + [(name, pa.float64()) for name in columns.values()]
    )

    def blocks() -> Iterator[list[Any]]:
        for at in range(0, len(rows), _ROWS):
            part = rows[at : at + _ROWS]
            shares = predict_few_shot(model, store, part)
            known = [None if truth is None else truth[row] for row in part]
            said = names[shares.argmax(axis=1)].tolist()
            texts = ([ids[row] for row in part], known, said)
            yield [*(pa.array(text, pa.string()) for text in texts), *map(pa.array, shares.T)]
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
            "order": list(model.classes),
            "method": model.spec.name,
        },
        store=store,
        model=model.path,
        options={"split": config.split},
        force=config.force,
    )
    return report


def _rows(model: FewShotModel, store: Store, config: "PredictConfig") -> tuple[Rows, list[str]]:
    """All rows, or those of a split, and a warning where shots were drawn from some of them.

    On the store that the model was made from its own splits count, unless the options say others.
    """
    rows = np.arange(store.rows, dtype=np.int64)
    if not config.split:
        return rows, []
    own = None
    if model.config["store"]["manifest_sha256"] == file_record(store.path / MANIFEST)["sha256"]:
        own = split_rows(store, SplitOptions(split_file=split_file_of(model)), train=False)
    plain = replace(config.splits, group_by=None, seed=0)  # those two say nothing of where they are
    splits = own
    if own is None or plain != SplitOptions():
        splits = split_rows(store, config.splits, train=True)
    assert splits is not None
    rows = splits.asked_rows(config.split, store.path)
    seen = 0 if own is None else int(np.isin(own.names[rows], ("train", "val")).sum())
    if not seen:
        return rows, []
    return rows, [
        f"{seen} of the {len(rows)} rows are those that `{model.path}` drew its shots from, or"
        " chose settings by: this is no test"
    ]
