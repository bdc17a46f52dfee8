"""What predictions of any model say of labels: those that are known, and a column a class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmcli.core.errors import MmcliError
from mmcli.data.labels import LabelOptions, read_labels
from mmcli.store.reader import Store
from mmcli.store.slugs import slug_of


def known_labels(
    label: Mapping[str, Any], store: Store, path: Path
) -> tuple[list[Any] | None, list[str]]:
    """The label of each row where the store has it and it is of the model's kind; warnings.

    label: as in the config of the model at `path`.
    """
    if label["column"] not in store.columns:
        return None, []
    kind = "multiclass" if label["kind"] == "binary" else label["kind"]
    options = LabelOptions(label["column"], kind, tuple(label["classes"]), True)
    try:
        labels = read_labels(store, options)
    except MmcliError as error:
        return None, [f"labels are left out: {error.message}"]
    return labels.told(), labels.strange_warning(path)


def probability_columns(classes: Sequence[str]) -> dict[str, str]:
    """The name of the column of probabilities of each class."""
    columns = {label: f"probability_{slug_of(label)}" for label in classes}
    if len(set(columns.values())) < len(columns):  # two labels of one slug
        columns = {label: f"probability_{i}" for i, label in enumerate(classes)}
    return columns
