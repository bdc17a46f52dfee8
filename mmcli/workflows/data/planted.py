"""`data synth planted`: a store of vectors in which bits are hidden, and the best accuracy on them.

Made and written block by block, a shard each, so that any number of rows fits in memory. The facts
stand in the store's manifest under `planted`. Prints nothing.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcli.core.errors import BadInput
from mmcli.data.ids import numbered
from mmcli.data.planted.ceilings import ceilings
from mmcli.data.planted.model import KINDS, LABELS, SPLITS, Planted, encoders
from mmcli.data.planted.rows import Truth, block_stream, blocks, draw, vectors
from mmcli.store.manifest import canonical, write_manifest
from mmcli.store.slugs import slug_of
from mmcli.store.survey import survey
from mmcli.store.writer import KeyArrays, StoreWriter, check_output


@dataclass(frozen=True)
class PlantedConfig:
    """What `mmcli data synth planted` can be told. planted: what is made."""

    output: str
    planted: Planted = field(default_factory=Planted)
    force: bool = False
    dry_run: bool = False


def plant(
    config: PlantedConfig, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Make the store and report what it holds and how good one can be on it.

    progress: of rows, done and in all. Raises UsageError or BadInput before anything is written.
    """
    began = time.perf_counter()
    planted = config.planted
    planted.check()
    output = Path(config.output)
    _check_free(output, config.force)
    options = planted.options()
    report = {"output": config.output, "kind": "planted", **options}
    best = ceilings(planted)
    if config.dry_run:
        return {"dry_run": True, **report, "ceilings": best}
    matrices = encoders(planted)
    keys = {key: _entry(key, matrix) for key, matrix in zip(planted.keys, matrices, strict=True)}
    digest = hashlib.sha256(canonical(options).encode()).hexdigest()
    source = {"spec": "planted", "kind": "planted", "source_root": None}
    counts = _Counts()
    with StoreWriter(output, keys, source, options, digest, force=config.force) as writer:
        start = 0
        for number, rows in enumerate(blocks(planted)):
            random = block_stream(planted, number)
            truth = draw(planted, rows, random)
            arrays = {
                key: KeyArrays(vectors(truth, place, matrix, planted.noise, random))
                for place, (key, matrix) in enumerate(zip(planted.keys, matrices, strict=True))
            }
            items = _items(truth, planted, start)
            writer.write_shard(number, start, items, arrays, counts=(rows, 0, 0))
            counts.add(truth)
            start += rows
            progress(start, planted.n)
        versions = {"mmcli": version("mmcli"), "numpy": np.__version__, "pyarrow": pa.__version__}
        facts = {**counts.facts(), "ceilings": best}
        manifest = {**writer.commit(versions), "planted": {**options, **facts}}
        write_manifest(output, manifest)  # again: the writer knows nothing of what is planted
    seconds = time.perf_counter() - began
    return {
        **report,
        **facts,
        "bytes": sum(record["bytes"] for record in manifest["files"].values()),
        "items_per_s": round(planted.n / seconds, 1),
        "total_s": round(seconds, 2),
    }


def _check_free(output: Path, force: bool) -> None:
    """Raise BadInput unless the store may be written; what was cut off is not gone on with."""
    found = survey(output)
    if not force and found.manifest is not None:
        raise BadInput(
            f"`{output}` already holds a store", "`--force` replaces it, or choose another `-o`"
        )
    if not force and found.state is not None:
        raise BadInput(f"`{output}` holds an unfinished store", "`--force` makes it again")
    check_output(output, force=force)


def _entry(key: str, matrix: NDArray[np.float64]) -> dict[str, Any]:
    """What the manifest says of a key: each modality is a space of its own."""
    digest = hashlib.sha256(matrix.astype("<f8").tobytes()).hexdigest()
    slug = slug_of(key)
    return {
        "slug": slug,
        "modality": key.split(":")[0],
        "encoder": "planted",
        "revision": None,
        "weights_sha256": digest,
        "dim": len(matrix),
        "dtype": "F32",
        "normalized": False,
        "space": f"planted-{slug}@{digest[:12]}",
        "sequence": False,
    }


def _items(truth: Truth, planted: Planted, start: int) -> pa.Table:
    columns: dict[str, Any] = {"id": numbered(start, start + len(truth.kinds))}
    for name, words, places in (
        ("label", LABELS, truth.labels),
        ("kind", KINDS, truth.kinds),
        ("split", SPLITS, truth.splits),
    ):
        columns[name] = pa.array(words, pa.string()).take(pa.array(places))
    for place, key in enumerate(planted.keys):
        columns[f"has_{slug_of(key)}"] = truth.present[:, place]
    return pa.table(columns)


class _Counts:
    """Rows of each label, kind and split, and parts."""

    def __init__(self) -> None:
        self._labels = np.zeros(len(LABELS), np.int64)
        self._kinds = np.zeros(len(KINDS), np.int64)
        self._splits = np.zeros(len(SPLITS), np.int64)
        self._without_part = 0

    def add(self, truth: Truth) -> None:
        self._labels += np.bincount(truth.labels, minlength=len(LABELS))
        self._kinds += np.bincount(truth.kinds, minlength=len(KINDS))
        self._splits += np.bincount(truth.splits, minlength=len(SPLITS))
        self._without_part += int((~truth.present.any(axis=1)).sum())

    def facts(self) -> dict[str, Any]:
        return {
            "labels": dict(zip(LABELS, self._labels.tolist(), strict=True)),
            "kinds": dict(zip(KINDS, self._kinds.tolist(), strict=True)),
            "splits": dict(zip(SPLITS, self._splits.tolist(), strict=True)),
            "rows_without_part": self._without_part,
        }
