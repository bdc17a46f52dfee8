"""`retrieve index`: keys of a store, or modalities through an aligner, into a FAISS index.

Composes store, index, aligner and encoders. The text tower goes into the index as ONNX where it
can be exported. Prints nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput
from mmcli.index.factory import candidates
from mmcli.index.layout import IndexWriter, refuse_overwrite
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.workflows.index.aligner import AlignedPlan, IndexAligner, aligner_of_keys
from mmcli.workflows.index.config import TARGET, IndexConfig, Listeners, check_config
from mmcli.workflows.index.queries import write_queries
from mmcli.workflows.index.rows import (
    IndexPart,
    aligned_parts,
    choose_keys,
    choose_modalities,
    plain_parts,
)
from mmcli.workflows.index.vectors import write_vectors
from mmcli.workflows.queries.plans import QueryPlan, plan_queries


@dataclass(frozen=True)
class IndexPlan:
    """What is indexed, in which space, and how queries get there.

    aligner: behind the index, where there is one. why: what keeps words from being a query, "" if
    nothing does.
    """

    parts: list[IndexPart]
    dim: int
    space: str
    queries: Mapping[str, QueryPlan | AlignedPlan]
    aligner: IndexAligner | None
    why: str


def build_index(config: IndexConfig, listeners: Listeners | None = None) -> dict[str, Any]:
    """Build an index of a store and report what it holds.

    Raises BadInput, UsageError or SpaceMismatch before anything is written.
    """
    listeners = listeners or Listeners()
    memory = check_config(config)
    refuse_overwrite(Path(config.output), config.force)
    store = Store.open(Path(config.store), verify=config.verify)
    store.id_column()  # by which rows are found, removed and replaced
    plan = plan_index(config, store)
    names = [part.name for part in plan.parts]
    rows = sum(part.count for part in plan.parts)
    if rows == 0:
        raise BadInput(
            f"`{config.store}` has no embedding under `{', '.join(names)}`",
            f"`--modality` names another key: {', '.join(store.keys)}",
        )
    factory = config.factory
    if factory == "auto":
        target = TARGET if config.target_recall is None else config.target_recall
        tried = candidates(rows, plan.dim, memory, target=target, on_disk=config.on_disk)
        factory = tried[0] if len(tried) == 1 else f"auto ({' or '.join(tried)})"
    else:
        from mmcli.index.build import empty
        from mmcli.index.on_disk import mappable

        # refuses a string that FAISS does not know
        found = empty(factory, plan.dim, _metric(config))
        if config.on_disk:
            mappable(found, factory)
    report = {
        "index": config.output,
        "rows": rows,
        "modalities": names,
        "skipped": sum(len(part.rows) for part in plan.parts) - rows,
        "dim": plan.dim,
        "metric": config.metric,
        "space": plan.space,
        "aligner": None if plan.aligner is None else str(plan.aligner.aligner.path),
        "factory": factory,
        "queries": {modality: query.encoder for modality, query in plan.queries.items()},
    }
    if config.dry_run:
        return {"dry_run": True, **report}
    listeners.message(f"{rows} vectors of {plan.dim} dimensions, {factory}, {config.metric}")
    if plan.why:
        ways = [f"`--{kind}`" for kind in plan.queries] + ["`--like`"]
        listeners.message(f"{plan.why}: search it by {' or '.join(ways)}")
    with IndexWriter(config.output, config.force) as writer:
        built = write_vectors(
            writer, blocks_of(plan, store), rows, plan.dim, memory, config, listeners
        )
        columns = _write_items(writer, store, plan.parts)
        queries, notes = write_queries(writer, plan.queries)
        for note in notes:
            listeners.debug(note)
        manifest = writer.commit(
            {
                "index": writer.name("index", ".faiss"),
                "items": writer.name("items", ".parquet"),
                "rows": rows,
                "dim": plan.dim,
                "metric": config.metric,
                "space": plan.space,
                "factory": built.factory,
                "on_disk": config.on_disk,
                "search": built.search,
                "modalities": {part.name: part.count for part in plan.parts},
                "columns": columns,
                "aligner": None if plan.aligner is None else plan.aligner.as_manifest(),
                "queries": queries,
                "why_no_text": plan.why or None,
                "tombstones": [],
                "measured_recall": built.recall,
                "tuning": built.table,
                "source_root": store.source_root,
                "store": {
                    "path": str(Path(config.store).resolve()),
                    "manifest_sha256": file_record(Path(config.store) / MANIFEST)["sha256"],
                },
                "versions": _versions(),
            }
        )
    report["factory"] = built.factory
    report |= built.report()
    report["bytes"] = sum(record["bytes"] for record in manifest["files"].values())
    report["without_torch"] = [name for name, entry in queries.items() if entry.get("folder")]
    return report


def plan_index(config: IndexConfig, store: Store) -> IndexPlan:
    """Which vectors of the store are indexed, in which space. Raises as `build_index`."""
    return _plan_aligned(config, store) if config.aligner else _plan_plain(config, store)


def _plan_plain(config: IndexConfig, store: Store) -> IndexPlan:
    """Keys as the store has them; queries as it was extracted, or as an aligner made it."""
    names = choose_keys(store.keys, config.modalities, config.store, config.metric)
    entry = store.keys[names[0]]
    aligner, why = aligner_of_keys(store, names)
    queries: Mapping[str, QueryPlan | AlignedPlan]
    if aligner is not None:
        queries = aligner.plans(store, config.query_prompt)
    elif why:
        queries = {}
    else:
        options = store.manifest.get("options") or {}
        queries = plan_queries(store.keys, names, options, config.query_prompt)
    if "text" not in queries:
        why = why or "no known text encoder shares this space"
    return IndexPlan(
        plain_parts(store, names, config.metric),
        int(entry["dim"]),
        str(entry["space"]),
        queries,
        aligner,
        why,
    )


def _plan_aligned(config: IndexConfig, store: Store) -> IndexPlan:
    """Modalities through an aligner, and queries too."""
    from mmcli.align.aligner import Aligner

    aligner = IndexAligner(Aligner.open(config.aligner or "", config.verify))
    names = choose_modalities(aligner.aligner, store, config.modalities)
    queries = aligner.plans(store, config.query_prompt)
    return IndexPlan(
        aligned_parts(store, aligner.aligner, names, config.metric),
        aligner.aligner.dim,
        aligner.space,
        queries,
        aligner,
        "" if "text" in queries else "the aligner maps no text whose encoder is known",
    )


def _metric(config: IndexConfig) -> Any:
    return config.metric


def blocks_of(plan: IndexPlan, store: Store) -> Callable[[], Iterator[NDArray[np.float32]]]:
    """The vectors of a plan in blocks, as often as they are asked for."""

    def blocks() -> Iterator[NDArray[np.float32]]:
        for part in plan.parts:
            yield from part.blocks(store)

    return blocks


def _write_items(writer: IndexWriter, store: Store, parts: list[IndexPart]) -> list[str]:
    """The items of every vector, in their order; with several parts a column says which."""
    import pyarrow as pa

    from mmcli.index.items import ItemWriter
    from mmcli.store.atomic import atomic_file

    names = [name for name in store.columns if not name.startswith("has_")]
    first = next(table for _, table in store.iter_items(names))
    schema = first.schema.remove_metadata()
    label = "modality" if "modality" not in names else "indexed_modality"
    if len(parts) > 1:
        schema = schema.append(pa.field(label, pa.string()))
    with atomic_file(writer.path / writer.name("items", ".parquet")) as path:
        items = ItemWriter(Path(path), schema)
        for part in parts:
            for start, table in store.iter_items(names):
                table = table.filter(pa.array(part.rows[start : start + len(table)]))
                if len(parts) > 1:
                    table = table.append_column(label, pa.array([part.name] * len(table)))
                items.add(table)
        items.close()
    return list(schema.names)


def _versions() -> dict[str, str]:
    found = {"mmcli": "0"}
    for package in ("mmcli", "faiss-gpu", "faiss-cpu", "onnxruntime", "tokenizers", "pyarrow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
