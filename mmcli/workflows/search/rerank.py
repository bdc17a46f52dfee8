"""The second stage of a search: the best of an index in the order that a pair scorer gives them.

Knows the store that an index was made of, and how a query's sequence is made; imports torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.index.search import Hits
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.workflows.queries.encoding import encode_queries
from mmcli.workflows.queries.file import Query
from mmcli.workflows.queries.plans import plan_bound
from mmcli.workflows.rerank import Reranker

if TYPE_CHECKING:
    from mmcli.index.items import ItemTable


@dataclass(frozen=True)
class Reranked:
    """What one query found, best first by the pair scorer. retrieval: the index's own scores."""

    rows: tuple[int, ...]
    scores: tuple[float, ...]
    retrieval: tuple[float, ...]


def check_rerankable(queries: Sequence[Query], k: int, depth: int) -> None:
    """Raise UsageError unless every query is of one part, and the results fit into the depth."""
    if depth < 1:
        raise UsageError(f"`--rerank-top {depth}`: must be at least 1", "50 is the default")
    if k > depth:
        raise UsageError(
            f"`-k {k}` is more than the {depth} that are re-ranked",
            f"give `--rerank-top {k}` or more",
        )
    for query in queries:
        if len(query.parts) > 1:
            raise UsageError(
                f"query `{query.name}` has {len(query.parts)} parts: a re-ranker scores one against"
                " each item",
                "leave `--rerank` out, or ask with one part",
            )
        (part,) = query.parts
        if part.kind == "like":
            raise UsageError(
                "`--like` asks for items of one kind, a re-ranker compares two kinds",
                "leave `--rerank` out, or ask with words or the file itself",
            )
        if part.weight <= 0:
            raise UsageError(
                f"query `{query.name}` pushes away, which a re-ranker cannot", "leave it out"
            )


class SearchReranker:
    """An open pair scorer and the store whose sequences it reads."""

    def __init__(
        self,
        path: str,
        index: str,
        manifest: Mapping[str, Any],
        queries: Sequence[Query],
        device: str,
        precision: str,
        verify: str,
    ) -> None:
        """Raises SpaceMismatch or BadInput when the index's store has changed or does not fit."""
        self._queries = queries
        self._device, self._precision = device, precision
        store = indexed_store(index, manifest, verify)
        self._reranker = Reranker.open(path, store, device, precision, verify)
        held = sorted({name.partition(":")[0] for name in manifest.get("modalities") or {}})
        for kind in sorted({query.parts[0].kind for query in queries}):
            target = self._reranker.target_of(kind)
            if held != [target]:
                raise UsageError(
                    f"the re-ranker scores {kind} against {target}, `{index}` holds"
                    f" {' and '.join(held)}",
                    f"give it an index of {target} alone",
                )

    def rerank(
        self, hits: Sequence[Hits], items: "ItemTable", k: int, min_score: float | None
    ) -> list[Reranked]:
        """The best `k` of each query's hits, those of equal score in the index's order."""
        ids = [item["id"] for item in items.take([r for hit in hits for r in hit.rows], ["id"])]
        place = rows_of(self._reranker.store, ids)
        unknown = next((item for item in ids if item not in place), None)
        if unknown is not None:
            raise BadInput(
                f"item `{unknown}` was added to the index from another store than"
                f" `{self._reranker.store.path}`",
                "re-ranking reads the sequences of one store: leave `--rerank` out, or index a"
                " store of all",
            )
        sequences = self._sequences()
        found, at = [], 0
        for query, hit in zip(self._queries, hits, strict=True):
            rows = [place[name] for name in ids[at : at + len(hit.rows)]]
            at += len(hit.rows)
            (part,) = query.parts
            (scores,) = self._reranker.score(
                part.kind, [sequences[part.kind, part.value]], np.array([rows], np.int64)
            )
            order = [
                i
                for i in np.argsort(-scores, kind="stable")
                if min_score is None or scores[i] >= min_score
            ][:k]
            found.append(
                Reranked(
                    tuple(hit.rows[i] for i in order),
                    tuple(float(scores[i]) for i in order),
                    tuple(hit.scores[i] for i in order),
                )
            )
        return found

    def _sequences(self) -> dict[tuple[str, str], Any]:
        """The sequence of every query, by kind and value."""
        scorer = self._reranker.scorer
        options = self._reranker.store.manifest.get("options") or {}
        found = {}
        for kind in sorted({query.parts[0].kind for query in self._queries}):
            parts = {q.parts[0].value: q.parts[0] for q in self._queries if q.parts[0].kind == kind}
            key = scorer.key(kind)
            plan = plan_bound(key, scorer.config["keys"][key], options)
            if plan is None:
                raise SpaceMismatch(
                    f"the re-ranker reads key `{key}`, whose encoder is not known",
                    "train it on a store that `mmcli extract` made",
                )
            (encoded,) = encode_queries(
                {key: plan},
                kind,
                list(parts),
                list(parts.values()),
                self._device,
                self._precision,
                sequence=True,
            ).values()
            found |= zip(((kind, value) for value in parts), encoded.sequences, strict=True)
        return found


def indexed_store(index: str, manifest: Mapping[str, Any], verify: str) -> Store:
    """The store that an index was made of.

    Raises BadInput when it is gone, SpaceMismatch when it is no longer the same.
    """
    entry = manifest.get("store") or {}
    path = Path(str(entry.get("path") or ""))
    if not entry.get("path") or not (path / MANIFEST).is_file():
        raise BadInput(
            f"`{path}`, the store that `{index}` was made of, is not there",
            "re-ranking reads its sequences: put it back, or index it again where it is",
        )
    if file_record(path / MANIFEST)["sha256"] != entry.get("manifest_sha256"):
        raise SpaceMismatch(
            f"store `{path}` has changed since `{index}` was made of it",
            "index it again: `--force` replaces the index",
        )
    return Store.open(path, verify)


def rows_of(store: Store, ids: Sequence[str]) -> dict[str, int]:
    """The rows of some ids of a store."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(sorted(set(ids)), pa.string())
    found: dict[str, int] = {}
    for start, table in store.iter_items(["id"]):
        column = table.column("id").cast(pa.string())
        rows = pc.indices_nonzero(pc.is_in(column, value_set=wanted))
        names = column.take(rows).to_pylist()
        found.update(zip(names, (start + row for row in rows.to_pylist()), strict=True))
    return found
