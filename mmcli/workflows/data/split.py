"""`data split`: a Parquet of id and split, or id and fold, for the rows of a store or a source.

The input is only read. Composes the reading of ids and columns with the division into parts.
Prints nothing.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.groups import Groups, Rows, encode, group_rows, text_of
from mmcli.data.partition import (
    folds_at_random,
    folds_by_hash,
    shares_at_random,
    shares_by_hash,
)
from mmcli.data.source import SourceOptions, open_source
from mmcli.data.splits import FOLD_COLUMN, SPLIT_COLUMN
from mmcli.data.synth.directory import is_data
from mmcli.store.atomic import make_directory
from mmcli.store.manifest import MANIFEST
from mmcli.store.parquet import write_table
from mmcli.store.reader import Store
from mmcli.workflows.output_files import refuse_inside

METHODS = ("random", "hash")
#: Shares where none is given.
TEST_SHARE = 0.2
VAL_SHARE = 0.1
#: Rows of a source read at a time.
_BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class SplitConfig:
    """What `mmcli data split` can be told. test, val: shares of all rows; None is the default."""

    source: str
    output: str
    test: float | None = None
    val: float | None = None
    folds: int | None = None
    group_by: str | None = None
    stratify_by: str | None = None
    method: str = "random"
    mapping: Mapping[str, str] = field(default_factory=dict)
    root: str | None = None
    seed: int = 0
    force: bool = False
    dry_run: bool = False


def split(config: SplitConfig, stdin: BinaryIO | None = None) -> dict[str, Any]:
    """Write the split file and report rows by split and class.

    Raises UsageError for options that do not fit, BadInput for a column that is missing, a part
    that would have no row, fewer groups than folds, or a file that would be overwritten.
    """
    names, shares = _parts(config)
    output = Path(config.output)
    _check_output(config, output)
    columns = [c for c in dict.fromkeys((config.group_by, config.stratify_by)) if c is not None]
    table = _read(config, columns, stdin)
    groups = group_rows(
        table.column("id"),
        None if config.group_by is None else table.column(config.group_by),
        config.group_by or "",
    )
    classes, labels = _classes(table, config.stratify_by)
    if config.folds is not None and len(groups) < config.folds:
        what = f"groups of `{config.group_by}`" if config.group_by else "rows"
        raise BadInput(f"{len(groups)} {what} do not make {config.folds} folds", "ask for fewer")
    parts = _divide(config, groups, shares, classes)
    counts = np.bincount(parts, minlength=len(names))
    _refuse_empty(config, names, counts, len(groups))
    if not config.dry_run:
        make_directory(output.parent)
        write_table(output, _written(config, table, names, parts))
    return _report(config, names, parts, groups, classes, labels)


def _parts(config: SplitConfig) -> tuple[list[str], list[float]]:
    """The names of the parts and their shares, which add up to 1."""
    if config.method not in METHODS:
        raise UsageError(
            f"`--method {config.method}` is unknown", suggestion(config.method, METHODS)
        )
    if config.method == "hash" and config.stratify_by is not None:
        raise UsageError(
            "`--stratify-by` needs `--method random`", "by hash, each value alone decides"
        )
    if config.folds is not None:
        if config.test is not None or config.val is not None:
            raise UsageError("`--folds` stands alone", "leave out `--test` and `--val`")
        if config.folds < 2:
            raise UsageError(f"`--folds {config.folds}` are too few", "give 2 or more")
        return [str(fold) for fold in range(config.folds)], [1 / config.folds] * config.folds
    test = TEST_SHARE if config.test is None else config.test
    val = VAL_SHARE if config.val is None else config.val
    for option, share in (("--test", test), ("--val", val)):
        if not 0 <= share < 1:
            raise UsageError(f"`{option} {share:g}` is not a share", "as in 0.2, of all rows")
    if test + val >= 1:
        raise UsageError(f"`--test {test:g} --val {val:g}` leave nothing to train on", "give less")
    if test + val == 0:
        raise UsageError("`--test 0 --val 0` split nothing", "give a share to one of them")
    wanted = [("test", test), ("val", val), ("train", 1 - test - val)]
    return [n for n, share in wanted if share], [share for _, share in wanted if share]


def _check_output(config: SplitConfig, output: Path) -> None:
    if output.suffix != ".parquet":
        raise UsageError(f"`-o {output}` is not named *.parquet", "a split file is Parquet")
    if output.is_dir():
        raise BadInput(f"`{output}` is a directory", "choose another `-o`")
    source = Path(config.source)
    if (source / MANIFEST).is_file() and source.resolve() in output.resolve().parents:
        raise BadInput(f"`{output}` lies in `{source}`", "write it beside it")
    refuse_inside("-o", output)
    if output.exists() and source.exists() and output.samefile(source):
        raise BadInput(f"`{output}` is the source itself", "choose another `-o`")
    if output.exists() and not config.force:
        raise BadInput(f"`{output}` already exists", "`--force` replaces it")


def _read(config: SplitConfig, columns: Sequence[str], stdin: BinaryIO | None) -> pa.Table:
    """The ids and these columns of every row."""
    path = Path(config.source)
    if config.source != "-" and (path / MANIFEST).is_file() and not is_data(path):
        if config.mapping or config.root:
            raise UsageError("`--map` and `--root` are for sources", f"`{path}` is finished")
        store = Store.open(path)
        if store.rows == 0:
            raise BadInput(f"`{path}` has no rows", "extract a source that has some")
        return store.items(["id", *[c for c in columns if c != "id"]])
    with tempfile.TemporaryDirectory(prefix="mmcli-") as spool:
        options = SourceOptions(config.source, config.root, config.mapping)
        source = open_source(options, Path(spool), stdin)
        try:
            for name in columns:
                if name not in source.schema.names:
                    raise BadInput(
                        f"`{config.source}` has no column `{name}`",
                        suggestion(name, source.schema.names),
                    )
            if source.text_is_path and "text" in columns:
                raise BadInput(
                    f"column `text` of `{config.source}` holds file names, not texts",
                    "extract it first, and split the store",
                )
            if not source.n_items:
                raise BadInput(f"`{config.source}` has no rows", "give a source that has some")
            wanted = ["id", *[c for c in columns if c != "id"]]
            blocks = range(0, source.n_items, _BLOCK_ROWS)
            return pa.concat_tables(
                source.rows(start, start + _BLOCK_ROWS).select(wanted) for start in blocks
            )
        finally:
            source.close()


def _classes(table: pa.Table, column: str | None) -> tuple[Rows | None, list[str]]:
    """The number of each row's class, and their texts; rows without one are a class, ""."""
    if column is None:
        return None, []
    values = table.column(column)
    if pa.types.is_nested(values.type) or pa.types.is_floating(values.type):
        raise BadInput(
            f"column `{column}` holds {values.type}, not classes", "make a column of few values"
        )
    codes, found = encode(values)
    labels = [text_of(value) for value in found]
    if (codes < 0).any():
        codes = np.where(codes < 0, len(labels), codes)
        labels.append("")
    return codes, labels


def _divide(
    config: SplitConfig, groups: Groups, shares: Sequence[float], classes: Rows | None
) -> Rows:
    if config.folds is not None:
        if config.method == "hash":
            return folds_by_hash(groups, config.folds)
        return folds_at_random(groups, config.folds, config.seed, classes)
    if config.method == "hash":
        return shares_by_hash(groups, shares)
    return shares_at_random(groups, shares, config.seed, classes)


def _refuse_empty(config: SplitConfig, names: Sequence[str], counts: Rows, groups: int) -> None:
    rows = int(counts.sum())
    for name, count in zip(names, counts, strict=True):
        if count == 0:
            what = f"fold {name}" if config.folds is not None else f"`{name}`"
            by = f" in {groups} groups of `{config.group_by}`" if config.group_by else ""
            raise BadInput(
                f"{what} would have no row of the {rows}{by}",
                "ask for fewer folds" if config.folds is not None else "give it a larger share",
            )


def _written(config: SplitConfig, table: pa.Table, names: Sequence[str], parts: Rows) -> pa.Table:
    ids = table.column("id").cast(pa.string())
    if config.folds is not None:
        return pa.table({"id": ids, FOLD_COLUMN: pa.array(parts, pa.int64())})
    return pa.table({"id": ids, SPLIT_COLUMN: pa.array(np.array(names)[parts], pa.string())})


def _report(
    config: SplitConfig,
    names: Sequence[str],
    parts: Rows,
    groups: Groups,
    classes: Rows | None,
    labels: Sequence[str],
) -> dict[str, Any]:
    counts = np.bincount(parts, minlength=len(names)).tolist()
    report: dict[str, Any] = {"dry_run": True} if config.dry_run else {}
    report |= {
        "output": config.output,
        "rows": len(parts),
        "groups": len(groups),
        "method": config.method,
        "folds" if config.folds is not None else "splits": dict(zip(names, counts, strict=True)),
    }
    if config.method == "random":
        report["seed"] = config.seed
    table = np.zeros((len(labels), len(names)), np.intp)
    if classes is not None:
        np.add.at(table, (classes, parts), 1)
    report["classes"] = {
        label: dict(zip(names, row, strict=True))
        for label, row in sorted(zip(labels, table.tolist(), strict=True))
    }
    scarce = int((table.sum(axis=1) < len(names)).sum())
    report["warnings"] = []
    if scarce:
        report["warnings"] = [
            f"{scarce} of {len(labels)} classes of `{config.stratify_by}` have fewer rows than"
            f" there are {'splits' if config.folds is None else 'folds'}"
        ]
    return report
