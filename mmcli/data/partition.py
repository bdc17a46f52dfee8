"""Divides groups of rows into parts of given shares: test, val and train, or k folds.

At random, the shares are kept as exactly as the groups allow, and the share of each class too where
classes are given. By hash, each group's own value decides alone, so that no other row, added or
removed, ever moves it, at the price of shares that are only about right. Knows groups and numbers;
nothing about where rows come from.
"""

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmcli.data.groups import Groups, Rows, fill

#: A sha256 is a number below 2 to this power.
_HASH_BITS = 256
#: Smaller than any true remainder of a share of rows.
_NOTHING = 1e-9


def shares_by_hash(groups: Groups, shares: Sequence[float]) -> Rows:
    """`(rows,)` the part of each row: where sha256(value) / 2^256 falls among the shares."""
    bounds = np.cumsum(shares)[:-1]
    places = np.array([value / (1 << _HASH_BITS) for value in groups.hashes()])
    return np.searchsorted(bounds, places, side="right").astype(np.intp)[groups.codes]


def folds_by_hash(groups: Groups, folds: int) -> Rows:
    """`(rows,)` the fold of each row: `int(sha256(value as UTF-8).hexdigest(), 16) % folds`."""
    return np.array([value % folds for value in groups.hashes()], np.intp)[groups.codes]


def shares_at_random(
    groups: Groups, shares: Sequence[float], seed: int, classes: Rows | None = None
) -> Rows:
    """`(rows,)` the part of each row; shares add up to 1.

    classes: `(rows,)` numbers from 0, whose shares every part keeps. Without them, parts but the
    last are filled in the order of a hash of seed and value, so that a group that is added moves
    at most those at the edge of a part.
    """
    order = groups.order(seed)
    if classes is None:
        return _filled(groups, order, shares)[groups.codes]
    if len(groups) == len(groups.codes):
        return _rounded(_ranks(order)[groups.codes], shares, classes)
    return _nearest(groups, order, shares, classes)[groups.codes]


def folds_at_random(groups: Groups, folds: int, seed: int, classes: Rows | None = None) -> Rows:
    """`(rows,)` the fold of each row; folds are of equal size as nearly as the groups allow.

    classes: `(rows,)` numbers from 0, whose shares every fold keeps.
    """
    order = groups.order(seed)
    shares = [1 / folds] * folds
    if len(groups) == len(groups.codes):
        every = np.zeros(len(groups), np.intp) if classes is None else classes
        return _rounded(_ranks(order)[groups.codes], shares, every)
    if classes is None:
        return _levelled(groups, order, folds)[groups.codes]
    return _nearest(groups, order, shares, classes)[groups.codes]


def _ranks(order: Rows) -> Rows:
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    return ranks


def _filled(groups: Groups, order: Rows, shares: Sequence[float]) -> Rows:
    """Each part but the last takes groups in their order until its share is full."""
    sizes = groups.sizes
    parts = np.full(len(groups), len(shares) - 1, np.intp)
    rest = order.tolist()
    for part, share in enumerate(shares[:-1]):
        target = round(share * len(groups.codes))
        taken = fill(rest, sizes, target) if target else []
        parts[taken] = part
        gone = set(taken)
        rest = [group for group in rest if group not in gone]
    return parts


def _levelled(groups: Groups, order: Rows, parts: int) -> Rows:
    """The largest group goes to the part with fewest rows, then the next."""
    sizes = groups.sizes
    found = np.empty(len(groups), np.intp)
    lightest = [(0, part) for part in range(parts)]
    for group in order[np.argsort(-sizes[order], kind="stable")].tolist():
        rows, part = lightest[0]
        found[group] = part
        heapq.heapreplace(lightest, (rows + int(sizes[group]), part))
    return found


def _rounded(ranks: Rows, shares: Sequence[float], classes: Rows) -> Rows:
    """Class by class, to each part its share of the class, rounded up or down.

    Who gets the rows that rounding leaves over is settled by what each part is still owed from the
    classes before, so that the parts' sizes are right too.
    """
    wanted = np.asarray(shares, float)
    owed = np.zeros(len(wanted))
    found = np.empty(len(ranks), np.intp)
    ordered = np.lexsort((ranks, classes))
    edges = np.flatnonzero(np.diff(classes[ordered])) + 1
    for rows in np.split(ordered, edges):
        exact = wanted * len(rows)
        counts = np.floor(exact + _NOTHING).astype(np.intp)
        left = exact - counts
        first = np.lexsort((-left, -(left + owed), left <= _NOTHING))
        counts[first[: len(rows) - counts.sum()]] += 1
        owed += exact - counts
        found[rows] = np.repeat(np.arange(len(wanted)), counts)
    return found


def _nearest(groups: Groups, order: Rows, shares: Sequence[float], classes: Rows) -> Rows:
    """Each group to the part in which the chi-square of counts against shares then grows least.

    The rows in all count as one more class. Groups come largest first, equal ones by their hash.
    """
    n_classes = int(classes.max()) + 1
    pairs, counts = np.unique(groups.codes * n_classes + classes, return_counts=True)
    starts = np.searchsorted(pairs, np.arange(len(groups) + 1) * n_classes)
    total: NDArray[np.intp] = np.append(np.bincount(classes, minlength=n_classes), len(classes))
    expected = np.outer(shares, total)
    filled = np.zeros_like(expected)
    sizes = groups.sizes
    found = np.empty(len(groups), np.intp)
    for group in order[np.argsort(-sizes[order], kind="stable")].tolist():
        mine = slice(starts[group], starts[group + 1])
        columns = np.append(pairs[mine] % n_classes, n_classes)
        more = np.append(counts[mine], sizes[group])
        growth = more * (more + 2 * (filled - expected)[:, columns]) / expected[:, columns]
        part = int(np.argmin(growth.sum(axis=1)))
        found[group] = part
        filled[part, columns] += more
    return found
