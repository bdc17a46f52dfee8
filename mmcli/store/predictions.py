"""Reads a predictions directory, `mmcli.predictions/1`, by mmcli or by any other program.

Needed are `manifest.json` with the format line and a Parquet table of `id`, `label` (null where
unknown) and `prediction`. The rest makes it richer: `task`, `items`, `classes` (an object of class
to column of probabilities, or a list of classes), `order` (the classes in their order, for ordinal
ones: a manifest that mmcli writes sorts objects), `positive` (of two classes; else the last),
`files`, and other columns. Knows nothing about measures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.core.registry import suggestion
from mmcli.store.hashes import check_files
from mmcli.store.manifest import MANIFEST, SELF_HASH, file_path, read_manifest
from mmcli.store.parquet import open_parquet, read_rows
from mmcli.store.prediction_values import (
    Array,
    as_numbers,
    as_sets,
    as_texts,
    at_row,
    check_sums,
    codes_of,
    distinct_texts,
    is_list,
    shares_of,
    unique_ids,
)
from mmcli.store.slugs import slug_of

KIND = "mmcli.predictions"
TASKS = ("classification", "multilabel", "regression", "ordinal")
NEEDED = ("id", "label", "prediction")
PROBABILITY = "probability_"
_CORRECT = "correct the manifest, or make the predictions again"


@dataclass(frozen=True)
class Predictions:
    """What was predicted, row by row, and what is true.

    classes: their names, in order; () for regression. truth, predicted: `(rows,)` int64 class
    numbers, or bool `(rows, classes)` for multilabel, or float64 `(rows,)` for regression; valid
    only where `known` and `answered`, bool `(rows,)`. strange: bool `(rows,)`, the rows whose label
    is none of the classes; they are not known. probabilities: float64 `(rows, classes)` or None.
    positive: number of the positive one of two classes, else None. columns: names of all others.
    """

    path: Path
    items: Path
    manifest: dict[str, Any]
    task: str
    classes: tuple[str, ...]
    ids: list[str]
    truth: Array
    predicted: Array
    known: Array
    answered: Array
    strange: Array
    probabilities: Array | None
    positive: int | None
    columns: tuple[str, ...]
    table: pa.Table | None = None
    """Every column, where these did not come from a directory."""

    @classmethod
    def open(cls, path: str | Path, verify: str = "once", task: str | None = None) -> "Predictions":
        """Open a directory and check every value.

        verify: `once` per version of a file, `full`, or `none`. task: one of TASKS in place of the
        manifest's, which else says it, or the types of the columns do: lists are multilabel,
        fractions regression, all else classification. Raises BadInput, naming the file and the row,
        for what does not fit.
        """
        path = Path(path)
        manifest = read_manifest(path, KIND)
        items = file_path(path, str(manifest.get("items", "items.parquet")))
        if "files" in manifest:
            check_files(path, manifest, None, verify)
        file = open_parquet(items)
        names = list(file.schema_arrow.names)
        _check_names(items, names)
        _check_rows(path, manifest, items, file.metadata.num_rows)
        read = [n for n in names if n in NEEDED or n.startswith(PROBABILITY)]
        return cls._of(path, items, manifest, names, read_rows(file, items, read), task)

    @classmethod
    def of_table(cls, path: str | Path, table: pa.Table, task: str | None = None) -> "Predictions":
        """Predictions that stand in a table of the same columns, without a manifest.

        Columns of probabilities are named by the classes or their slugs; one that fits no class of
        any row names a class itself. path: what messages call it. task: as of `open`, which raises
        the same errors.
        """
        names = list(table.column_names)
        _check_names(Path(path), names)
        task = task or _task_of(Path(path), {}, table)
        classes = {} if task == "regression" else _classes_of_columns(Path(path), table, task)
        manifest = {"classes": classes} if classes else {}
        found = cls._of(Path(path), Path(path), manifest, names, table, task)
        return replace(found, table=table)

    @classmethod
    def _of(
        cls,
        path: Path,
        items: Path,
        manifest: dict[str, Any],
        names: list[str],
        table: pa.Table,
        task: str | None,
    ) -> "Predictions":
        task = task or _task_of(path, manifest, table)
        read = _numbers if task == "regression" else _sets if task == "multilabel" else _singles
        found = read(path, items, manifest, table, task)
        return cls(
            path=path,
            items=items,
            manifest=manifest,
            task=task,
            ids=unique_ids(items, table.column("id")),
            columns=tuple(n for n in names if n not in NEEDED and not n.startswith(PROBABILITY)),
            **found,
        )

    @property
    def scored(self) -> Array:
        """int64: the rows that have a label of a class and a prediction."""
        return np.flatnonzero(self.known & self.answered)

    def column(self, name: str) -> pa.ChunkedArray:
        """One of the other columns, or `label` or `prediction`, of every row."""
        if name not in (*self.columns, *NEEDED):
            raise BadInput(f"`{self.items}` has no column `{name}`", suggestion(name, self.columns))
        if self.table is not None:
            return self.table.column(name)
        return read_rows(open_parquet(self.items), self.items, [name]).column(name)


def _check_names(items: Path, names: Sequence[str]) -> None:
    for name in NEEDED:
        if names.count(name) != 1:
            many = "has no column" if name not in names else "has two columns"
            raise BadInput(
                f"`{items}` {many} `{name}`", "predictions have id, label and prediction"
            )


def _classes_of_columns(path: Path, table: pa.Table, task: str) -> dict[str, str]:
    """The column of probabilities of each class; empty where there is none."""
    there = [name for name in table.column_names if name.startswith(PROBABILITY)]
    if not there:
        return {}
    told = [(name, table.column(name)) for name in ("label", "prediction")]
    if task == "multilabel":
        found = distinct_texts([as_sets(path, *column)[0] for column in told])
    else:
        found = distinct_texts([as_texts(path, *column) for column in told])
    columns = {}
    for label in found:
        own = (PROBABILITY + label, PROBABILITY + slug_of(label))
        columns[label] = next((name for name in own if name in there), own[0])
    others = [name for name in there if name not in columns.values()]
    columns |= {name.removeprefix(PROBABILITY): name for name in others}
    return dict(sorted(columns.items()))


def _check_rows(path: Path, manifest: Mapping[str, Any], items: Path, rows: int) -> None:
    said = manifest.get("rows")
    if isinstance(said, int) and said != rows:
        raise BadInput(f"`{items}` has {rows} rows, `{path / MANIFEST}` says {said}", _CORRECT)


def _task_of(path: Path, manifest: Mapping[str, Any], table: pa.Table) -> str:
    said = manifest.get("task")
    if said is not None:
        if said not in TASKS:
            raise BadInput(
                f"`{path / MANIFEST}`: task `{said}` is unknown", suggestion(said, TASKS)
            )
        return str(said)
    kinds = [table.column(name).type for name in ("label", "prediction")]
    if any(is_list(kind) for kind in kinds):
        return "multilabel"
    if any(pa.types.is_floating(kind) for kind in kinds):
        return "regression"
    return "classification"


def _numbers(
    path: Path, items: Path, manifest: Mapping[str, Any], table: pa.Table, task: str
) -> dict[str, Any]:
    truth, predicted = (as_numbers(items, n, table.column(n)) for n in ("label", "prediction"))
    return {
        "classes": (),
        "truth": truth,
        "predicted": predicted,
        "known": ~np.isnan(truth),
        "answered": ~np.isnan(predicted),
        "strange": np.zeros(len(truth), bool),
        "probabilities": None,
        "positive": None,
    }


def _singles(
    path: Path, items: Path, manifest: Mapping[str, Any], table: pa.Table, task: str
) -> dict[str, Any]:
    labels, given = (as_texts(items, n, table.column(n)) for n in ("label", "prediction"))
    classes, columns = _classes(path, manifest, task, lambda: distinct_texts((labels, given)))
    truth, predicted = codes_of(labels, classes), codes_of(given, classes)
    _refuse_unknown(items, predicted == -2, given, np.arange(len(given)), classes)
    answered = predicted >= 0
    shares = _shares(manifest, items, table, columns, answered)
    if shares is not None:
        check_sums(items, shares, answered)
    return {
        "classes": classes,
        "truth": truth,
        "predicted": predicted,
        "known": truth >= 0,
        "answered": answered,
        "strange": truth == -2,
        "probabilities": shares,
        "positive": _positive(path, manifest, classes),
    }


def _sets(
    path: Path, items: Path, manifest: Mapping[str, Any], table: pa.Table, task: str
) -> dict[str, Any]:
    parts = {n: as_sets(items, n, table.column(n)) for n in ("label", "prediction")}
    classes, columns = _classes(
        path, manifest, task, lambda: distinct_texts([names for names, _, _ in parts.values()])
    )
    cells = {}
    for name, (labels, rows, _) in parts.items():
        codes = codes_of(labels, classes)
        empty = np.flatnonzero(codes == -1)
        if len(empty):
            raise BadInput(
                f"{at_row(items, int(rows[empty[0]]))}: the list in `{name}` has an empty label",
                "leave it out of the list",
            )
        if name == "prediction":
            _refuse_unknown(items, codes == -2, labels, rows, classes)
        strange = np.zeros(table.num_rows, bool)
        strange[rows[codes == -2]] = True
        found = np.zeros((table.num_rows, len(classes)), bool)
        found[rows[codes >= 0], codes[codes >= 0]] = True
        cells[name] = (found, strange)
    strange = cells["label"][1]
    answered = parts["prediction"][2]
    return {
        "classes": classes,
        "truth": cells["label"][0],
        "predicted": cells["prediction"][0],
        "known": parts["label"][2] & ~strange,
        "answered": answered,
        "strange": strange,
        "probabilities": _shares(manifest, items, table, columns, answered),
        "positive": None,
    }


def _refuse_unknown(
    items: Path, wrong: Array, texts: pa.Array, rows: Array, classes: Sequence[str]
) -> None:
    if wrong.any():
        at = int(np.argmax(wrong))
        name = texts[at].as_py()
        raise BadInput(
            f"{at_row(items, int(rows[at]))}: prediction `{name}` is none of the classes",
            suggestion(name, classes),
        )


def _classes(
    path: Path, manifest: Mapping[str, Any], task: str, found: Any
) -> tuple[tuple[str, ...], list[str]]:
    """The classes in their order, and the column of probabilities of each.

    found: gives the names that stand in the table, for a manifest without `classes`.
    """
    given = manifest.get("classes")
    if isinstance(given, dict):
        columns = {str(label): str(column) for label, column in given.items()}
    elif given is None or isinstance(given, list):
        names = found() if given is None else [str(label) for label in given]
        columns = {label: PROBABILITY + slug_of(label) for label in names}
        if given is not None and len(columns) != len(given):
            raise BadInput(f"`{path / MANIFEST}`: a class stands twice in `classes`", _CORRECT)
    else:
        raise BadInput(
            f"`{path / MANIFEST}`: `classes` is neither an object nor a list",
            'as in {"cat": "probability_cat", "dog": "probability_dog"}',
        )
    order = _order(path, manifest, list(columns), task)
    return tuple(order), [columns[label] for label in order]


def _order(path: Path, manifest: Mapping[str, Any], labels: list[str], task: str) -> list[str]:
    order = manifest.get("order")
    if order is not None:
        if not isinstance(order, list) or sorted(map(str, order)) != sorted(labels):
            raise BadInput(
                f"`{path / MANIFEST}`: `order` does not name each of `classes` once", _CORRECT
            )
        return [str(label) for label in order]
    if task != "ordinal":
        return labels
    if all(_is_number(label) for label in labels):
        return sorted(labels, key=float)
    given = manifest.get("classes")
    if "format" not in manifest:
        raise BadInput(
            f"`{path}` does not say the order of the classes",
            "number them, or make a directory whose manifest has `order`",
        )
    if isinstance(given, list) or (isinstance(given, dict) and SELF_HASH not in manifest):
        return labels
    raise BadInput(
        f"`{path / MANIFEST}` does not say the order of the classes",
        'add it, as in "order": ["low", "middle", "high"]',
    )


def _positive(path: Path, manifest: Mapping[str, Any], classes: tuple[str, ...]) -> int | None:
    said = manifest.get("positive")
    if said is not None and str(said) not in classes:
        raise BadInput(
            f"`{path / MANIFEST}`: `positive` is `{said}`, which is no class",
            suggestion(str(said), classes),
        )
    if len(classes) != 2:
        return None
    return 1 if said is None else classes.index(str(said))


def _shares(
    manifest: Mapping[str, Any], items: Path, table: pa.Table, columns: list[str], answered: Array
) -> Array | None:
    """The probabilities; None where no column of them is there."""
    there = [name for name in columns if name in table.column_names]
    if not there:
        return None
    if "classes" not in manifest:
        for name in table.column_names:
            if name.startswith(PROBABILITY) and name not in columns:
                raise BadInput(
                    f"`{items}`: column `{name}` is of no class that occurs",
                    f'say in `{MANIFEST}` which there are, as in "classes": ["cat", "dog"]',
                )
    for name in columns:
        if name not in there:
            raise BadInput(
                f"`{items}` has no column `{name}`, though it has `{there[0]}`",
                "probabilities are there for every class, or for none",
            )
    return shares_of(items, table, columns, answered)


def _is_number(label: str) -> bool:
    try:
        return float(label) == float(label)
    except ValueError:
        return False
