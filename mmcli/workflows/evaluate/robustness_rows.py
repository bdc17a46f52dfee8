"""The labelled rows that the robustness of a fusion is judged on, and what is odd about them.

Knows stores, labels and splits; nothing about corruptions or scores.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.data.labels import LabelOptions, read_labels
from mmcli.data.splits import SplitOptions, split_rows
from mmcli.fusion.inputs import Rows
from mmcli.fusion.model import FusionModel
from mmcli.store.reader import Store
from mmcli.workflows.evaluate.rows import ALL, Chosen, choose_rows
from mmcli.workflows.fuse.rows import own_seen_warning, own_splits

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
    options, warnings = own_splits(model, store, options)
    chosen = _choose(store, options, split)
    rows = chosen.rows[labels.known[chosen.rows]]
    if not len(rows):
        which = "" if chosen.split == ALL else f" of split {chosen.split}"
        raise BadInput(
            f"no row{which} of `{store.path}` has a `{labels.column}` that `{model.path}` knows",
            "label some, or choose another `--split`",
        )
    return RowsUnderTest(
        rows,
        labels.values[rows],
        chosen.split,
        chosen.source,
        len(chosen.rows) - len(rows),
        [*warnings, *own_seen_warning(model, store, rows)],
    )


def _choose(store: Store, options: SplitOptions, split: str | None) -> Chosen:
    if split is not None:
        return choose_rows(store, options, split)
    splits = split_rows(store, options, train=False)
    if splits.has(TEST):
        return Chosen(splits.rows(TEST).astype(np.int64), TEST, splits.source)
    return Chosen(np.arange(store.rows, dtype=np.int64), ALL, f"no {TEST} row: {splits.source}")
