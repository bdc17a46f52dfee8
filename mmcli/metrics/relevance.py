"""Which targets are right for which query, kept so that equal queries share one set.

Relevance by a column of few values would take queries x targets entries as a plain list; here the
queries of one value point at the same set. Knows nothing about vectors or scores.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Gains = NDArray[np.float64]


@dataclass(frozen=True)
class Relevance:
    """Sets of targets in CSR form, and which set each query has.

    set_of: `(queries,)`, the number of a set, or -1 where nothing is relevant. indptr:
    `(sets + 1,)`; indices: `(nnz,)` target numbers; gains: `(nnz,)` above zero, None when all
    count the same. own: `(queries,)`, the target that is the query itself and is left out of its
    ranking, -1 where there is none; None when no query is a target.
    """

    set_of: Indices
    indptr: Indices
    indices: Indices
    gains: Gains | None = None
    own: Indices | None = None

    def counts(self) -> Indices:
        """How many targets are relevant to each query, `(queries,)`; itself not among them."""
        sizes = np.append(np.diff(self.indptr), 0)
        found = sizes[self.set_of]
        if self.own is None:
            return found
        with_own = np.flatnonzero((self.own >= 0) & (self.set_of >= 0))
        found[with_own] -= self._holds_own(with_own)
        return found

    def pairs(self, queries: Indices) -> tuple[Indices, Indices, Gains | None]:
        """The relevant targets of some queries: indptr `(len(queries) + 1,)`, indices, gains."""
        sets = self.set_of[queries]
        sizes = np.append(np.diff(self.indptr), 0)[sets]
        row = np.repeat(np.arange(len(queries)), sizes)
        starts = np.append(self.indptr[:-1], 0)[sets]
        offset = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        at = starts[row] + offset
        indices = self.indices[at]
        if self.own is not None:
            kept = indices != self.own[queries][row]
            at, indices, row = at[kept], indices[kept], row[kept]
        indptr = np.zeros(len(queries) + 1, np.int64)
        np.cumsum(np.bincount(row, minlength=len(queries)), out=indptr[1:])
        return indptr, indices, None if self.gains is None else self.gains[at]

    def take(self, queries: Indices) -> "Relevance":
        """The same targets for some of the queries."""
        own = None if self.own is None else self.own[queries]
        return Relevance(self.set_of[queries], self.indptr, self.indices, self.gains, own)

    def reorder_targets(self, order: Indices) -> "Relevance":
        """The same when target `order[i]` becomes number i."""
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        own = self.own
        if own is not None:
            own = np.where(own >= 0, place[np.maximum(own, 0)], -1)
        return Relevance(self.set_of, self.indptr, place[self.indices], self.gains, own)

    def _holds_own(self, queries: Indices) -> NDArray[np.bool_]:
        """Whether the own target of each of these queries is in its set."""
        assert self.own is not None
        width = int(self.indices.max(initial=-1)) + 2
        set_number = np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))
        held = np.sort(set_number * width + self.indices)
        wanted = self.set_of[queries] * width + np.minimum(self.own[queries], width - 1)
        return np.isin(wanted, held)


def relevance_by_row(n: int) -> Relevance:
    """Target i is right for query i and nothing else is."""
    each = np.arange(n, dtype=np.int64)
    return Relevance(each, np.arange(n + 1, dtype=np.int64), each)


def relevance_by_value(
    query_values: Iterable[Hashable],
    target_values: Iterable[Hashable],
    own: Indices | None = None,
) -> Relevance:
    """A target is right for a query when their values are equal; None equals nothing.

    own: see `Relevance`.
    """
    members: dict[Hashable, list[int]] = {}
    for number, value in enumerate(target_values):
        if value is not None:
            members.setdefault(value, []).append(number)
    number_of = {value: number for number, value in enumerate(members)}
    set_of = [number_of.get(value, -1) for value in query_values]
    indptr, indices = _joined(list(members.values()))
    return Relevance(np.array(set_of, np.int64), indptr, indices, own=own)


def relevance_by_judgement(
    queries: Sequence[str], targets: Sequence[str], judged: Mapping[str, Mapping[str, float]]
) -> Relevance:
    """Graded judgements by id: `judged[query id][target id]` is a gain; none or zero is wrong.

    Ids that are not among the queries or targets are passed over.
    """
    number_of = {name: number for number, name in enumerate(targets)}
    sets: list[list[int]] = []
    gains: list[float] = []
    for query in queries:
        found = sorted(
            (number_of[name], gain)
            for name, gain in judged.get(query, {}).items()
            if gain > 0 and name in number_of
        )
        sets.append([number for number, _ in found])
        gains += [gain for _, gain in found]
    indptr, indices = _joined(sets)
    set_of = np.arange(len(sets), dtype=np.int64)
    return Relevance(set_of, indptr, indices, np.array(gains, np.float64))


def _joined(sets: Sequence[Sequence[int]]) -> tuple[Indices, Indices]:
    indptr = np.zeros(len(sets) + 1, np.int64)
    np.cumsum([len(members) for members in sets], out=indptr[1:])
    flat = [number for members in sets for number in members]
    return indptr, np.array(flat, np.int64)
