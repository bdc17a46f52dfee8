"""`retrieve index`: one or several keys of a store, of one space, into a FAISS index.

Composes store, index and encoders. The text tower goes into the index as ONNX where it can be
exported. Prints nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, MmcliError, SpaceMismatch, UsageError
from mmcli.core.registry import suggestion
from mmcli.core.types import PART_COLUMNS
from mmcli.index.factory import available_memory, choose
from mmcli.index.layout import IndexWriter, query_folder, refuse_overwrite
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.workflows.queries import QueryPlan, load_query_encoder, plan_queries

#: Rows read from the store at a time.
BLOCK_ROWS = 16_384


@dataclass(frozen=True)
class IndexConfig:
    """What `mmcli retrieve index` can be told. modalities: keys of the store, as in `image`."""

    store: str
    output: str
    modalities: tuple[str, ...] = ()
    factory: str = "auto"
    metric: str = "cosine"
    query_prompt: str | None = None
    verify: str = "once"
    force: bool = False
    dry_run: bool = False
    seed: int = 0


@dataclass
class Listeners:
    """Who hears of the run: `message` of log lines, `debug` of finer ones, `progress` of rows."""

    message: Callable[[str], None] = lambda text: None
    debug: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], None] = lambda done, total: None


@dataclass(frozen=True)
class _Key:
    """One key of the store and which of its rows have a vector worth indexing."""

    name: str
    rows: NDArray[np.bool_]


def build_index(config: IndexConfig, listeners: Listeners | None = None) -> dict[str, Any]:
    """Build an index of a store and report what it holds.

    Raises BadInput, UsageError or SpaceMismatch before anything is written.
    """
    listeners = listeners or Listeners()
    if config.metric not in ("cosine", "ip", "l2"):
        raise UsageError(f"`--metric {config.metric}` is unknown", "use cosine, ip or l2")
    refuse_overwrite(Path(config.output), config.force)
    store = Store.open(Path(config.store), verify=config.verify)
    names = choose_keys(store.keys, config.modalities, config.store, config.metric)
    entry = store.keys[names[0]]
    keys = [_Key(name, _usable_rows(store, name, config.metric)) for name in names]
    rows = sum(int(key.rows.sum()) for key in keys)
    if rows == 0:
        raise BadInput(
            f"`{config.store}` has no embedding under `{', '.join(names)}`",
            f"`--modality` names another key: {', '.join(store.keys)}",
        )
    dim = int(entry["dim"])
    factory = config.factory
    if factory == "auto":
        factory = choose(rows, dim, available_memory())
    from mmcli.index.build import empty

    empty(factory, dim, _metric(config))  # refuses a string that FAISS does not know
    options = store.manifest.get("options") or {}
    plans = plan_queries(store.keys, names, options, config.query_prompt)
    report = {
        "index": config.output,
        "rows": rows,
        "modalities": names,
        "skipped": sum(len(key.rows) for key in keys) - rows,
        "dim": dim,
        "metric": config.metric,
        "space": str(entry["space"]),
        "factory": factory,
        "queries": {modality: plan.encoder for modality, plan in plans.items()},
    }
    if config.dry_run:
        return {"dry_run": True, **report}
    listeners.message(f"{rows} vectors of {dim} dimensions, {factory}, {config.metric}")
    with IndexWriter(config.output, config.force) as writer:
        _write_vectors(writer, store, keys, dim, factory, config, listeners)
        columns = _write_items(writer, store, keys)
        queries = _write_queries(writer, plans, listeners)
        manifest = writer.commit(
            {
                "index": writer.name("index", ".faiss"),
                "items": writer.name("items", ".parquet"),
                "rows": rows,
                "dim": dim,
                "metric": config.metric,
                "space": str(entry["space"]),
                "factory": factory,
                "modalities": {key.name: int(key.rows.sum()) for key in keys},
                "columns": columns,
                "queries": queries,
                "tombstones": [],
                "measured_recall": None,
                "source_root": store.source_root,
                "store": {
                    "path": str(Path(config.store).resolve()),
                    "manifest_sha256": file_record(Path(config.store) / MANIFEST)["sha256"],
                },
                "versions": _versions(),
            }
        )
    report["bytes"] = sum(record["bytes"] for record in manifest["files"].values())
    report["without_torch"] = [name for name, entry in queries.items() if entry.get("folder")]
    return report


def choose_keys(
    entries: Mapping[str, Mapping[str, Any]],
    wanted: Sequence[str],
    store: str = "the store",
    metric: str = "cosine",
) -> list[str]:
    """The keys to index: those asked for, else `image`, else the store's first.

    Raises UsageError for a key that is not there, SpaceMismatch when two may not be compared:
    other than by cosine, also when the vectors of one have unit length and the others' have not.
    """
    if not entries:
        raise BadInput(f"`{store}` has no embeddings", "extract something into it first")
    for name in wanted:
        if name not in entries:
            raise UsageError(f"`{store}` has no key `{name}`", suggestion(name, entries))
    if not wanted:
        wanted = next(((m,) for m in PART_COLUMNS if m in entries), (next(iter(entries)),))
    names = list(dict.fromkeys(wanted))
    first = entries[names[0]]
    if len(names) > 1 and not first["space"]:
        raise SpaceMismatch(
            f"`{store}` does not say in which space `{names[0]}` is", "index one key at a time"
        )
    compared = ("space", "dim") if metric == "cosine" else ("space", "dim", "normalized")
    for name in names[1:]:
        for what in compared:
            mine, other = first.get(what), entries[name].get(what)
            if mine != other:
                raise SpaceMismatch(
                    f"key `{names[0]}` has {what} `{mine}`, key `{name}` has `{other}`",
                    "these cannot share an index: make one for each",
                )
    return names


def _metric(config: IndexConfig) -> Any:
    return config.metric


def _usable_rows(store: Store, key: str, metric: str) -> NDArray[np.bool_]:
    """Rows that have an embedding which is finite, and for cosine not zero."""
    rows = np.asarray(store.has(key), dtype=bool).copy()
    for start, block in store.iter(key, BLOCK_ROWS):
        part = rows[start : start + len(block)]
        part &= np.isfinite(block).all(axis=1)
        if metric == "cosine":
            part &= block.any(axis=1)
    return rows


def _write_vectors(
    writer: IndexWriter,
    store: Store,
    keys: list[_Key],
    dim: int,
    factory: str,
    config: IndexConfig,
    listeners: Listeners,
) -> None:
    import faiss

    from mmcli.index.build import build
    from mmcli.store.atomic import atomic_file

    def blocks() -> Iterator[NDArray[np.float32]]:
        for key in keys:
            for start, block in store.iter(key.name, BLOCK_ROWS):
                yield np.asarray(block, dtype=np.float32)[key.rows[start : start + len(block)]]

    total = sum(int(key.rows.sum()) for key in keys)
    index = build(
        blocks,
        total,
        dim,
        factory=factory,
        metric=_metric(config),
        seed=config.seed,
        on_rows=lambda done: listeners.progress(done, total),
    )
    with atomic_file(writer.path / writer.name("index", ".faiss")) as path:
        faiss.write_index(index, str(path))


def _write_items(writer: IndexWriter, store: Store, keys: list[_Key]) -> list[str]:
    """The items of every vector, in their order; with several keys a column says which."""
    import pyarrow as pa

    from mmcli.index.items import ItemWriter
    from mmcli.store.atomic import atomic_file

    names = [name for name in store.columns if not name.startswith("has_")]
    first = next(table for _, table in store.iter_items(names))
    schema = first.schema.remove_metadata()
    label = "modality" if "modality" not in names else "indexed_modality"
    if len(keys) > 1:
        schema = schema.append(pa.field(label, pa.string()))
    with atomic_file(writer.path / writer.name("items", ".parquet")) as path:
        items = ItemWriter(Path(path), schema)
        for key in keys:
            for start, table in store.iter_items(names):
                table = table.filter(pa.array(key.rows[start : start + len(table)]))
                if len(keys) > 1:
                    table = table.append_column(label, pa.array([key.name] * len(table)))
                items.add(table)
        items.close()
    return list(schema.names)


def _write_queries(
    writer: IndexWriter,
    plans: dict[str, QueryPlan],
    listeners: Listeners,
) -> dict[str, dict[str, Any]]:
    """Entries of the manifest for each query modality; text is exported where it can be."""
    entries = {modality: plan.as_manifest() for modality, plan in plans.items()}
    if "text" not in plans:
        listeners.message("no known text encoder shares this space: search it by file or `--like`")
        return entries
    folder = query_folder(writer.name("query"), "text")
    reason = _export_text(plans["text"], writer.path / folder)
    if reason:
        import shutil

        shutil.rmtree(writer.path / folder, ignore_errors=True)
        entries["text"]["reason"] = reason
        listeners.debug(f"the text tower was not exported ({reason}): queries will load the model")
    else:
        entries["text"]["folder"] = folder
        listeners.debug(f"text tower exported: queries by text run without torch ({folder})")
    return entries


def _export_text(plan: QueryPlan, folder: Path) -> str | None:
    """Write the text tower into `folder`; None, or why it could not be done."""
    if plan.layer is not None:
        return "an inner layer is indexed"
    from mmcli.encoders.export import export_text

    try:
        encoder = load_query_encoder(plan, "cpu", "fp32")
        folder.mkdir(parents=True, exist_ok=True)
        return export_text(encoder, folder)
    except MmcliError as error:
        return error.message


def _versions() -> dict[str, str]:
    found = {"mmcli": "0"}
    for package in ("mmcli", "faiss-gpu", "faiss-cpu", "onnxruntime", "tokenizers", "pyarrow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
