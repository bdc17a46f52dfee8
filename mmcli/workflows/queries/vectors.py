"""Queries as vectors of the index's space: words by the exported tower, the rest by the engine.

Knows nothing about results. Torch is imported only for pictures, recordings, and words whose tower
could not be exported.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, SpaceMismatch
from mmcli.index.query_text import TowerLoader
from mmcli.store.manifest import file_path
from mmcli.workflows.queries.file import FILE_KINDS, Query, QueryPart

if TYPE_CHECKING:
    from mmcli.index.items import ItemTable

Vectors = NDArray[np.float32]


def refuse_nothing(part: QueryPart, vector: Vectors) -> None:
    """Raise BadInput for a vector of zeros, as a recording has in which nothing is said."""
    if not vector.any():
        where = f"{part.where}: " if part.where else ""
        raise BadInput(
            f"{where}nothing was recognised in {part.kind} `{part.value}`",
            "a preset such as `clap` hears more than words",
        )


class QueryVectors:
    """Starts loading what the queries need; `combined` gives their vectors."""

    def __init__(
        self,
        folder: Path,
        manifest: dict[str, Any],
        queries: Sequence[Query],
        notes: list[str],
        warnings: list[str],
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._queries = queries
        self._notes = notes
        self._warnings = warnings
        entry = (manifest.get("queries") or {}).get("text") or {}
        self._tower: TowerLoader | None = None
        n_texts = len(self._values("text"))
        if n_texts and entry.get("folder"):
            self._tower = TowerLoader(folder / entry["folder"], n_texts)

    def __enter__(self) -> "QueryVectors":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._tower is not None:
            self._tower.join()  # a thread inside the runtime must not outlive the interpreter

    def combined(
        self, index: Any, items: "ItemTable", device: str, precision: str
    ) -> tuple[Vectors, list[list[int]]]:
        """Vectors `(queries, dim)`, and for each query the rows it must not find (its `--like`)."""
        from mmcli.index.search import combine, vector_of

        by_kind: dict[str, dict[str, Vectors]] = {}
        rows_of: dict[str, list[int]] = {}
        texts = self._values("text")
        if texts:
            by_kind["text"] = dict(zip(texts, self._texts(texts, device, precision), strict=True))
        for kind in FILE_KINDS:
            parts = [p for q in self._queries for p in q.parts if p.kind == kind]
            if parts:
                by_kind[kind] = self._files(kind, parts, device, precision)
        for item in self._values("like"):
            rows_of[item] = items.find(item)
            by_kind.setdefault("like", {})[item] = vector_of(index, rows_of[item][0])
        vectors, exclude = [], []
        for query in self._queries:
            found = [by_kind[part.kind][part.value] for part in query.parts]
            for part, vector in zip(query.parts, found, strict=True):
                refuse_nothing(part, vector)
            weights = [part.weight for part in query.parts]
            vectors.append(combine(found, weights, self._manifest["metric"]))
            likes = [part.value for part in query.parts if part.kind == "like"]
            exclude.append([row for item in likes for row in rows_of[item]])
        return np.stack(vectors), exclude

    def _values(self, kind: str) -> list[str]:
        parts = (p for q in self._queries for p in q.parts if p.kind == kind)
        return list(dict.fromkeys(part.value for part in parts))

    def _texts(self, texts: list[str], device: str, precision: str) -> Vectors:
        if self._tower is None:
            entry = self._manifest["queries"]["text"]
            reason = entry.get("reason") or "it was not exported"
            self._notes.append(f"text queries load the model itself: {reason}")
            vectors, scripts = self._encode("text", texts, [], device, precision)
            self._warn_scripts(texts, scripts)
            return vectors
        tower = self._tower.result()
        settings = tower.settings
        if (settings.space, settings.dim) != (self._manifest["space"], self._manifest["dim"]):
            raise SpaceMismatch(
                f"the index is in `{self._manifest['space']}` ({self._manifest['dim']}), its text"
                f" tower in `{settings.space}` ({settings.dim})",
                "build the index again",
            )
        vectors = tower.encode(texts)
        if tower.truncated:
            self._warnings.append(
                f"{tower.truncated} of {len(texts)} texts cut to {settings.max_length} tokens"
            )
        self._warn_scripts(texts, settings.scripts)
        return vectors

    def _warn_scripts(self, texts: list[str], covered: Sequence[str]) -> None:
        """One warning for texts in a script that the encoder was not made for."""
        if not covered or all(text.isascii() for text in texts):
            return
        from mmcli.data.scripts import uncovered_script

        found = [s for s in (uncovered_script(text, covered) for text in texts) if s]
        if not found:
            return
        from mmcli.encoders.registry import PRESETS

        script = found[0]
        better = [p.name for p in PRESETS if script in p.scripts]
        advice = f"; `--preset {better[0]}` reads it" if better else ""
        count = "the text is" if len(texts) == 1 else f"{len(found)} of {len(texts)} texts are"
        self._warnings.append(
            f"{count} in a script ({script}) that the text encoder does not cover:"
            f" results are near chance{advice}"
        )

    def _files(
        self, kind: str, parts: Sequence[QueryPart], device: str, precision: str
    ) -> dict[str, Vectors]:
        """Vectors of pictures or recordings by path; the first that cannot be read is an error."""
        unique = {part.value: part for part in parts}
        for path, part in unique.items():
            if not os.path.exists(path):
                where = f"{part.where}: " if part.where else ""
                raise BadInput(
                    f"{where}{kind} `{path}` does not exist",
                    "paths start where you stand, those in a file of queries at that file",
                )
        vectors, _ = self._encode(kind, list(unique), list(unique.values()), device, precision)
        return dict(zip(unique, vectors, strict=True))

    def _encode(
        self,
        kind: str,
        values: list[str],
        parts: Sequence[QueryPart],
        device: str,
        precision: str,
    ) -> tuple[Vectors, tuple[str, ...]]:
        """Vectors in the index's space, and the scripts that the encoder covers."""
        from mmcli.workflows.queries.encoding import encode_queries
        from mmcli.workflows.queries.plans import QueryPlan

        entry = self._manifest["queries"][kind]
        inputs = entry.get("inputs") or {kind: {**entry, "space": self._manifest["space"]}}
        plans = {key: QueryPlan.from_manifest(kind, plan) for key, plan in inputs.items()}
        found = encode_queries(plans, kind, values, parts, device, precision)
        first = next(iter(found.values()))
        for encoded in found.values():
            self._notes += [f"heard: {heard!r}" for heard in encoded.heard]
        if not entry.get("inputs"):
            return first.vectors, first.scripts
        from mmcli.workflows.index.aligner import load_tower

        tower = load_tower(file_path(self._folder, entry["tower"]))
        given = {key: encoded.vectors for key, encoded in found.items()}
        return tower.apply(given), first.scripts
