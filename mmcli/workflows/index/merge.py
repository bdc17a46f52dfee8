"""`retrieve merge`: two indexes of one space made one, in the kind of the first.

Nothing is trained and no store is read. Prints nothing.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.index import on_disk
from mmcli.index.build import ready
from mmcli.index.folding import blocks_of_rows, fold, fold_to_file
from mmcli.index.items import ItemWriter
from mmcli.index.keyword import write_keywords
from mmcli.index.layout import IndexWriter, check, open_index, refuse_overwrite
from mmcli.index.library import faiss
from mmcli.index.living import additions_of, item_files, kept_rows
from mmcli.index.search import read_index
from mmcli.index.segments import empty_addition, share_quantiser
from mmcli.store.atomic import atomic_file
from mmcli.workflows.index.changes import (
    UNKNOWN_SPACE,
    columns_of,
    fitted,
    ids_of,
    left_out_columns,
    report_of,
)
from mmcli.workflows.store.paths import rerooted


@dataclass(frozen=True)
class MergeConfig:
    """What `mmcli retrieve merge` can be told. replace: of ids in both, the second's are taken."""

    first: str
    second: str
    output: str
    replace: bool = False
    force: bool = False
    verify: str = "once"
    dry_run: bool = False


def merge_indexes(
    config: MergeConfig, message: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Write an index of the rows of both and report what it holds.

    Raises SpaceMismatch when they are not comparable, BadInput when an id is in both.
    """
    refuse_overwrite(Path(config.output), config.force)
    for path in (config.first, config.second):
        if Path(path).resolve() == Path(config.output).resolve():
            raise UsageError("`-o` is one of the two", "write to another directory")
    first, second = open_index(config.first), open_index(config.second)
    _check_same(config, first, second)
    for path, manifest in ((config.first, first), (config.second, second)):
        check(path, manifest, None, config.verify)
    keep, other = _kept(config, first, second)
    report: dict[str, Any] = {
        "index": config.output,
        "first": int(keep.sum()),
        "second": int(other.sum()),
        "rows": int(keep.sum() + other.sum()),
        "left_out_columns": left_out_columns(
            Path(config.first), first, pq.read_schema(Path(config.second) / second["items"]).names
        ),
    }
    for name in report["left_out_columns"]:
        message(f"column `{name}` of `{config.second}` is not in `{config.first}`: left out")
    if config.dry_run:
        return {"dry_run": True, **report}
    message(f"{report['rows']} rows into {first.get('factory')}")
    with IndexWriter(config.output, config.force) as writer:
        with atomic_file(writer.path / writer.name("index", ".faiss")) as path:
            _write_vectors(config, first, second, keep, other, Path(path))
        _items(writer, config, first, second, keep, other)
        content = _content(writer, config, first, second, report["rows"])
        manifest = writer.commit(content)
    return report_of(config.output, manifest) | report


def _check_same(config: MergeConfig, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    for path, manifest in ((config.first, first), (config.second, second)):
        if not manifest["space"]:
            raise SpaceMismatch(f"`{path}` does not say in which space it is", UNKNOWN_SPACE)
    for what in ("space", "dim", "metric"):
        if first[what] != second[what]:
            raise SpaceMismatch(
                f"`{config.first}` has {what} `{first[what]}`, `{config.second}` has"
                f" `{second[what]}`",
                "only indexes of one space and metric can be one",
            )
    many = len(first.get("modalities") or {}) > 1
    if first.get("modalities") and not many:
        many = set(first["modalities"]) != set(second.get("modalities") or {})
        if many:
            raise BadInput(
                f"`{config.first}` holds {', '.join(first['modalities'])}, `{config.second}`"
                f" {', '.join(second.get('modalities') or {})}",
                "build one of a store with both: `retrieve index --modality a,b`",
            )


def _kept(config: MergeConfig, first: Mapping[str, Any], second: Mapping[str, Any]) -> Any:
    """Which rows of each go in."""
    one, two = Path(config.first), Path(config.second)
    keep, other = kept_rows(one, first), kept_rows(two, second)
    have = ids_of(item_files(one, first))
    more = ids_of(item_files(two, second)).filter(pa.array(other))
    both = np.asarray(pc.is_in(have, value_set=more).to_numpy()) & keep
    if both.any() and not config.replace:
        item = have[int(np.flatnonzero(both)[0])].as_py()
        raise BadInput(
            f"item `{item}` is in `{config.first}` and in `{config.second}`",
            "`--replace` takes those of the second",
        )
    return keep & ~both, other


def _write_vectors(
    config: MergeConfig,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    keep: Any,
    other: Any,
    path: Path,
) -> None:
    """The first index, its additions and the rows of the second folded together, in a file.

    Where the first has its lists on disk, those of the second are written beside `path` before.
    """
    one = Path(config.first)
    mapped = bool(first.get("on_disk"))
    blocks = _blocks_of_second(config, second, other)
    metric: Any = first["metric"]
    shape = _read(one, first, first)  # which must outlive what is made of it
    added = empty_addition(shape)
    counts = np.concatenate([keep, np.ones(int(other.sum()), bool)])
    parts = [_read(one, first, part) for part in additions_of(first)]
    if not mapped:
        for block in blocks():
            added.add(ready(block, metric))
        folded = fold(lambda: _read(one, first, first), [*parts, added], counts)
        faiss.write_index(folded, str(path))
        return
    beside = path.with_name(path.name + ".second")
    try:
        on_disk.write(added, blocks, int(other.sum()), metric, beside)
        parts.append(on_disk.open_mapped(beside))
        fold_to_file(lambda: _read(one, first, first), parts, counts, path)
    finally:
        beside.unlink(missing_ok=True)


def _blocks_of_second(
    config: MergeConfig, second: Mapping[str, Any], other: Any
) -> Callable[[], Iterator[Any]]:
    """The vectors of the second index that go in, as exactly as it keeps them."""
    two = Path(config.second)
    hint = "build one of both stores instead: `mmcli store concat`, then `retrieve index`"

    def blocks() -> Iterator[Any]:
        start = 0
        built = _read(two, second, second)
        for part in [second, *additions_of(second)]:
            index = built if part is second else _read(two, second, part)
            share_quantiser(built, index)
            rows = np.flatnonzero(other[start : start + part["rows"]])
            start += part["rows"]
            yield from blocks_of_rows(index, rows, hint)

    return blocks


def _read(folder: Path, manifest: Mapping[str, Any], part: Mapping[str, Any]) -> Any:
    mapped = bool(manifest.get("on_disk"))
    return read_index(folder / part["index"], manifest["dim"], part["rows"], on_disk=mapped)


def _items(
    writer: IndexWriter,
    config: MergeConfig,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    keep: Any,
    other: Any,
) -> None:
    """The items of both, in the columns of the first; of two roots, with absolute paths."""
    one, two = Path(config.first), Path(config.second)
    one_root = _root_of_both(first, second) is not None
    schema = pq.read_schema(one / first["items"])
    with atomic_file(writer.path / writer.name("items", ".parquet")) as path:
        items = ItemWriter(Path(path), schema)
        for folder, manifest, mask in ((one, first, keep), (two, second, other)):
            start = 0
            for file in item_files(folder, manifest):
                for batch in pq.ParquetFile(file).iter_batches(65_536):
                    table = pa.Table.from_batches([batch])
                    inside = mask[start : start + len(table)]
                    start += len(table)
                    table = table.filter(pa.array(inside))
                    table = rerooted(table, None if one_root else manifest.get("source_root"))
                    items.add(fitted(table, schema, str(folder)))
        items.close()


def _content(
    writer: IndexWriter,
    config: MergeConfig,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    rows: int,
) -> dict[str, Any]:
    """The manifest: the first's, its query towers copied, with both sources named."""
    left = ("additions", "added_from", "files", "generation", "manifest_sha256", "keywords")
    content = {key: value for key, value in first.items() if key not in left}
    queries: dict[str, Any] = {}
    for modality, entry in (first.get("queries") or {}).items():
        entry = dict(entry)
        for key in ("folder", "tower"):
            if entry.get(key):
                old = str(entry[key])
                new = "/".join([writer.name("query"), *old.split("/")[1:]])
                source, target = Path(config.first) / old, writer.path / new
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, target, dirs_exist_ok=True)
                else:
                    shutil.copy2(source, target)
                entry[key] = new
        queries[modality] = entry
    if first.get("keywords"):
        columns = first["keywords"]["columns"]
        folder = writer.name("keywords")
        table = columns_of(writer.path / writer.name("items", ".parquet"), columns)
        write_keywords(writer.path / folder, table)
        content["keywords"] = {"columns": columns, "folder": folder}
    counts = {
        name: int(count) + int((second.get("modalities") or {}).get(name, 0))
        for name, count in (first.get("modalities") or {}).items()
    }
    if len(counts) == 1:
        counts = dict.fromkeys(counts, rows)
    return content | {
        "index": writer.name("index", ".faiss"),
        "items": writer.name("items", ".parquet"),
        "rows": rows,
        "tombstones": [],
        "measured_recall": None,
        "modalities": counts,
        "queries": queries,
        "source_root": _root_of_both(first, second),
        "store": None,
        "merged": [str(Path(p).resolve()) for p in (config.first, config.second)],
    }


def _root_of_both(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """What the paths of both indexes are relative to, None where it is not one place."""
    root: str | None = first.get("source_root")
    return root if root == second.get("source_root") else None
