"""The vectors that the recall of an index is measured on: those of its living rows.

They are the store's where that has all of them as they went in, else what the index itself keeps.
Knows no settings. Prints nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, MmcliError
from mmcli.index.build import ready
from mmcli.index.folding import blocks_of_rows
from mmcli.index.library import faiss
from mmcli.index.living import is_as_built, item_files, kept_rows
from mmcli.index.neighbours import Blocks, Rows
from mmcli.index.settings import parts_of
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.workflows.index.build import IndexPlan, blocks_of, plan_index
from mmcli.workflows.index.changes import columns_of, ids_of, modality_column
from mmcli.workflows.index.config import IndexConfig

Against = Literal["store", "vectors", "codes"]


@dataclass(frozen=True)
class MeasuredVectors:
    """Living rows of an index: `rows` `(n,)` are their numbers, `blocks()` their vectors in turn.

    against: `store` and `vectors` are exact; `codes` are what the index decodes to, so a recall on
    them says what its lists miss, not what its codes lose.
    """

    blocks: Blocks
    rows: Rows
    against: Against


def measured_vectors(
    folder: Path,
    manifest: Mapping[str, Any],
    index: Any,
    moved: str | None,
    verify: str,
    message: Callable[[str], None],
) -> MeasuredVectors:
    """What to measure an opened index on. moved: where the store of the manifest is now.

    Raises BadInput when nothing is left in it, or when it is as it was built and the store is not
    there or no longer what it was made of; UsageError when neither store nor index has the vectors.
    """
    living = np.flatnonzero(kept_rows(folder, manifest))
    if not len(living):
        raise BadInput(f"`{folder}` is empty: there is nothing to find", "add rows to it first")
    if is_as_built(manifest) or moved:
        return _of_store(folder, manifest, living, moved, verify)
    try:
        return _of_store(folder, manifest, living, None, verify)
    except MmcliError as error:
        why = error
    parts = parts_of(index)
    exact = all(map(_keeps_vectors, parts))
    found = MeasuredVectors(_decoded(parts, living, str(folder)), living, "vectors")
    if exact:
        return found
    message(f"{why.message}: measured by its codes, which tells what lists miss, not what codes do")
    return MeasuredVectors(found.blocks, living, "codes")


def _of_store(
    folder: Path, manifest: Mapping[str, Any], living: Rows, moved: str | None, verify: str
) -> MeasuredVectors:
    """The vectors as they went in. Raises BadInput when the store has not all of them."""
    if manifest.get("added_from") or manifest.get("merged"):
        raise BadInput(
            f"`{folder}` holds rows of several stores", "leave `--store` out, or build it again"
        )
    store = _store(folder, manifest, moved, verify)
    plan = _plan(manifest, store, verify)
    metric: Any = manifest["metric"]
    if is_as_built(manifest):
        rows = sum(part.count for part in plan.parts)
        if rows != manifest["rows"]:
            raise BadInput(
                f"`{folder}` holds {manifest['rows']} vectors, `{store.path}` gives {rows}",
                "build the index again with `--target-recall`",
            )
        row_of = living
    else:
        row_of = _rows_of_plan(folder, manifest, living, plan, store)
        missing = len(living) - int((row_of >= 0).sum())
        if missing:
            raise BadInput(
                f"`{folder}` holds {missing} items that `{store.path}` has not",
                "leave `--store` out, or build it again",
            )

    def blocks() -> Iterator[NDArray[np.float32]]:
        start = 0
        for block in blocks_of(plan, store)():
            yield ready(block[row_of[start : start + len(block)] >= 0], metric)
            start += len(block)

    return MeasuredVectors(blocks, row_of[row_of >= 0], "store")


def _store(folder: Path, manifest: Mapping[str, Any], moved: str | None, verify: str) -> Store:
    entry = manifest.get("store") or {}
    path = Path(moved or str(entry.get("path", "")))
    if not (path / MANIFEST).is_file():
        raise BadInput(
            f"the store of `{folder}` is not at `{path}`", "`--store` says where it is now"
        )
    if file_record(path / MANIFEST)["sha256"] != entry.get("manifest_sha256"):
        raise BadInput(
            f"`{path}` is no longer the store that `{folder}` was made of",
            "`retrieve update` brings the index to its state, or build it again",
        )
    return Store.open(path, verify=verify)


def _plan(manifest: Mapping[str, Any], store: Store, verify: str) -> IndexPlan:
    names = tuple(manifest["modalities"])
    # keys that are in the index's space already are taken as they are
    plain = all(store.keys.get(name, {}).get("space") == manifest["space"] for name in names)
    return plan_index(
        IndexConfig(
            store=str(store.path),
            output="",
            modalities=names,
            aligner=None if plain else (manifest.get("aligner") or {}).get("path"),
            metric=manifest["metric"],
            verify=verify,
        ),
        store,
    )


def _rows_of_plan(
    folder: Path, manifest: Mapping[str, Any], living: Rows, plan: IndexPlan, store: Store
) -> Rows:
    """The living row of every vector of a plan, in its order; -1 for one that is not in there."""
    files = item_files(folder, manifest)
    have = ids_of(files)
    label = modality_column(pq.read_schema(files[0]).names, manifest["modalities"])
    if label:
        modality = pa.chunked_array(
            [chunk for file in files for chunk in columns_of(file, [label])[label].chunks],
            pa.string(),
        )
        have = pc.binary_join_element_wise(modality, have, "\n")
    wanted = store.id_column()
    given = []
    for part in plan.parts:
        ids = wanted.filter(pa.array(part.rows))
        given.append(pc.binary_join_element_wise(part.name, ids, "\n") if label else ids)
    found = [pc.index_in(ids, value_set=have.take(pa.array(living))) for ids in given]
    places = np.concatenate([np.asarray(pc.fill_null(place, -1).to_numpy()) for place in found])
    return np.where(places >= 0, living[places], -1).astype(np.int64)


def _decoded(parts: list[Any], living: Rows, folder: str) -> Blocks:
    """The vectors of living rows as the segments of an index give them back."""
    hint = f"build `{folder}` again of its stores, with `--target-recall`"

    def blocks() -> Iterator[NDArray[np.float32]]:
        start = 0
        for part in parts:
            low, high = np.searchsorted(living, (start, start + part.ntotal))
            yield from blocks_of_rows(part, living[low:high] - start, hint)
            start += part.ntotal

    return blocks


def _keeps_vectors(index: Any) -> bool:
    """Whether an index gives back what was added, bit for bit."""
    inner: Any = faiss.downcast_index(index)
    if isinstance(inner, faiss.IndexRefine):
        return _keeps_vectors(inner.refine_index)
    if hasattr(inner, "storage"):  # a graph
        return _keeps_vectors(inner.storage)
    return isinstance(inner, (faiss.IndexFlat, faiss.IndexIVFFlat))
