"""Scores of pairs by a `PairModel`, many rows at a time, without gradients.

Rows are read once and paired often. Knows nothing about training or about aligners on the disk.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.align.pair_model import PairModel, torch
from mmcli.engine.autocast import autocast
from mmcli.engine.sequences import Tokens, padded, shortened

Numbers = NDArray[np.int64]
#: Rows read, and pairs scored, at a time: 64 pairs of 25 tokens and 49 patches stay in the cache.
BATCH = 64


@dataclass(frozen=True)
class Placed:
    """Where a model computes, and in which type its products are taken."""

    model: PairModel
    device: str = "cpu"
    dtype: str = "float32"

    def autocast(self) -> Any:
        """The context in which the model is called."""
        return autocast(self.device, self.dtype)

    def tensors(self, number: int, sequences: Sequence[Tokens]) -> tuple[Any, Any]:
        """Padded tokens and their mask of one side, where the model is."""
        side = self.model.shape.sides[number]
        values, real = padded([shortened(s, bool(side.grid)) for s in sequences], side.dim)
        return torch.from_numpy(values).to(self.device), torch.from_numpy(real).to(self.device)

    def read(self, number: int, sequences: Sequence[Tokens]) -> tuple[Any, Any]:
        """One side by itself and its mask, rows in batches, padded to the longest of all."""
        parts = [
            self._read(number, sequences[i : i + BATCH]) for i in range(0, len(sequences), BATCH)
        ]
        longest = max(x.shape[1] for x, _ in parts)
        pad = torch.nn.functional.pad
        return (
            torch.cat([pad(x, (0, 0, 0, longest - x.shape[1])) for x, _ in parts]),
            torch.cat([pad(real, (0, longest - real.shape[1])) for _, real in parts]),
        )

    def _read(self, number: int, sequences: Sequence[Tokens]) -> tuple[Any, Any]:
        values, real = self.tensors(number, sequences)
        with torch.no_grad(), self.autocast():
            return self.model.read(number, values, real), real

    def match(
        self,
        x: tuple[Any, Any],
        y: tuple[Any, Any],
        first: Numbers,
        second: Numbers,
        progress: Callable[[int], None] = lambda done: None,
    ) -> NDArray[np.float32]:
        """Scores `(n,)` of rows `first` of x with rows `second` of y, both as `read` gives them."""
        found = np.empty(len(first), np.float32)
        for part in _blocks(len(first)):
            a, b = (torch.from_numpy(rows[part]).to(self.device) for rows in (first, second))
            (left, real_left), (right, real_right) = _taken(*x, a), _taken(*y, b)
            with torch.no_grad(), self.autocast():
                score, _ = self.model.match(left, real_left, right, real_right)
            found[part] = score.float().cpu().numpy()
            progress(part.stop)
        return found

    def late(self, x: tuple[Any, Any], y: tuple[Any, Any]) -> NDArray[np.float32]:
        """`(rows of x, rows of y)`: the similarity that hard negatives are drawn by."""
        with torch.no_grad(), self.autocast():
            parts = [self.model.late(x[0][p], x[1][p], *y) for p in _blocks(len(x[0]))]
        found: NDArray[np.float32] = torch.cat(parts).float().cpu().numpy()
        return found


def _taken(tokens: Any, real: Any, rows: Any) -> tuple[Any, Any]:
    """Those rows, no longer than the longest of them."""
    chosen = real[rows]
    longest = int(chosen.sum(1).max())
    return tokens[rows, :longest], chosen[:, :longest]


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, BATCH):
        yield slice(start, min(start + BATCH, count))


@dataclass(frozen=True)
class Reranked:
    """How often the first of a query's targets is right, its best `depth` in the model's order."""

    hits: dict[int, float]
    queries: int


def reranked_hits(
    placed: Placed,
    x: tuple[Any, Any],
    y: tuple[Any, Any],
    groups: tuple[Numbers, Numbers],
    ks: Sequence[int],
    depth: int,
) -> tuple[Reranked, Reranked]:
    """hit@k of x asking for y, and of y asking for x, after re-ranking.

    The best `depth` by `late` are put in the order of `match`, in front of all others. groups: of
    the rows of x and of y; equal ones match. A target that scores as much as the right one counts
    as in front of it.
    """
    late = placed.late(x, y)
    found = []
    for scores, turned in ((late, False), (late.T, True)):
        count = min(depth, scores.shape[1])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :count].astype(np.int64)
        queries = np.repeat(np.arange(len(scores), dtype=np.int64), count)
        targets = best.reshape(-1)
        pair = (targets, queries) if turned else (queries, targets)
        new = placed.match(x, y, *pair)
        order = scores.astype(np.float64) - scores.max() - 1.0  # below zero
        order[queries, targets] = 1.0 + new - min(0.0, float(new.min()))
        asked, there = groups[::-1] if turned else groups
        right = asked[:, None] == there[None]
        own = np.where(right, order, -np.inf).max(axis=1, initial=-np.inf)
        rank = 1 + ((order >= own[:, None]) & ~right).sum(axis=1)
        can = right.any(axis=1)
        hits = {k: float((rank[can] <= k).mean()) if can.any() else float("nan") for k in ks}
        found.append(Reranked(hits, int(can.sum())))
    return found[0], found[1]
