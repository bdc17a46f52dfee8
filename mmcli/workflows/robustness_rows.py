"""The labelled rows that the robustness of a fusion is judged on, and what is odd about them.

Knows stores, labels and splits; nothing about corruptions or scores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput, MmcliError
from mmcli.data.labels import LabelOptions, read_labels
from mmcli.data.splits import SplitOptions, split_rows
from mmcli.fusion.inputs import Rows
from mmcli.fusion.model import FusionModel
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.workflows.evaluate_rows import ALL, Chosen, choose_rows
from mmcli.workflows.trained_rows import seen_warning

TEST = "test"


@dataclass(frozen=True)
class RowsUnderTest:
    """Rows with a label, ascending. truth: as `Labels.values` has them. unlabelled: left out."""

    rows: Rows
    truth: Any
    split: str
    source: str
    unlabelled: int
    warnings: list[str]


@dataclass(frozen=True)
class _Trained:
    """A fusion as `seen_warning` reads an aligner: its splits stand under `run`."""

    path: Path
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]


def rows_of(
    model: FusionModel, store: Store, split: str | None, options: SplitOptions
) -> RowsUnderTest:
    """The rows of a split; without a name `test` where there is one, else every row.

    On the store that the model was trained on its own splits count, unless the options say
    otherwise. Raises BadInput for a store without the label, and when no row is left.
    """
    label = model.config["label"]
    kind = "multiclass" if label["kind"] == "binary" else label["kind"]
    labels = read_labels(
        store, LabelOptions(label["column"], kind, tuple(label["classes"]), lenient=True)
    )
    told = (model.config.get("run") or {}).get("data") or {}
    warnings = []
    plain = replace(options, group_by=None, seed=0)  # those two do not say where the splits are
    if plain == SplitOptions() and _is_origin(model, store):
        own = _options(told.get("splits") or {})
        try:
            split_rows(store, own, train=False)
            options = own
        except MmcliError as error:  # a split file that is gone
            warnings.append(f"the splits of `{model.path}` are not read: {error.message}")
    chosen = _choose(store, options, split)
    rows = chosen.rows[labels.known[chosen.rows]]
    if not len(rows):
        which = "" if chosen.split == ALL else f" of split {chosen.split}"
        raise BadInput(
            f"no row{which} of `{store.path}` has a `{labels.column}` that `{model.path}` knows",
            "label some, or choose another `--split`",
        )
    trained: Any = _Trained(model.path, model.manifest, {"run": told})
    return RowsUnderTest(
        rows,
        labels.values[rows],
        chosen.split,
        chosen.source,
        len(chosen.rows) - len(rows),
        [*warnings, *seen_warning(trained, store, rows)],
    )


def _is_origin(model: FusionModel, store: Store) -> bool:
    told = (model.config.get("store") or {}).get("manifest_sha256")
    return bool(told == file_record(store.path / MANIFEST)["sha256"])


def _options(told: Mapping[str, Any]) -> SplitOptions:
    known = {field.name for field in fields(SplitOptions)}
    return SplitOptions(**{name: value for name, value in told.items() if name in known})


def _choose(store: Store, options: SplitOptions, split: str | None) -> Chosen:
    if split is not None:
        return choose_rows(store, options, split)
    splits = split_rows(store, options, train=False)
    if splits.has(TEST):
        return Chosen(splits.rows(TEST).astype(np.int64), TEST, splits.source)
    return Chosen(np.arange(store.rows, dtype=np.int64), ALL, f"no {TEST} row: {splits.source}")
