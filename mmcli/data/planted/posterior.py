"""The Bayes rule of planted data under Gaussian noise, and how often it is right on drawn rows.

All that a vector v tells about the label is in its coordinates E.T @ v, the code plus noise. Knows
nothing about stores.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmcli.data.planted.model import (
    COMPLEMENTARY,
    KINDS,
    NOISY,
    REDUNDANT,
    SYNERGISTIC,
    Planted,
    generator,
)
from mmcli.data.planted.rows import draw

_CHUNK_ROWS = 32_768
#: Rows drawn of each kind, fewer the more modalities there are.
_MOST_DRAWS = 2**18
_FEWEST_DRAWS = 2**16

Floats = NDArray[np.float64]


def log_joint(coordinates: Floats, present: NDArray[np.bool_], planted: Planted) -> Floats:
    """`(rows, kinds, 2)` log of the chance of what is seen and of a label, given the kind.

    coordinates: `(rows, modalities, kinds)`. present: bool `(rows, modalities)`, what is seen.
    Up to a constant of the row: the chance that all codes are zero. The noise is above 0.
    """
    # How much better a bit explains a coordinate than zero does; nothing where none is seen.
    scale = planted.noise**2
    no = np.where(present[:, :, None], (-coordinates - 0.5) / scale, 0.0)
    yes = np.where(present[:, :, None], (coordinates - 0.5) / scale, 0.0)
    found = np.empty((len(coordinates), len(KINDS), 2))
    by_bit = {
        REDUNDANT: [side[:, :, REDUNDANT].sum(axis=1) for side in (no, yes)],
        COMPLEMENTARY: [
            np.logaddexp.reduce(side[:, :, COMPLEMENTARY], axis=1) - np.log(no.shape[1])
            for side in (no, yes)
        ],
        SYNERGISTIC: _parity(no[:, :, SYNERGISTIC], yes[:, :, SYNERGISTIC]),
    }
    for kind, sides in by_bit.items():
        for label in (0, 1):
            found[:, kind, label] = _mixed(sides[label], sides[1 - label], planted.label_noise)
    sides = [no[:, :, NOISY], yes[:, :, NOISY]]
    for label in (0, 1):
        shown = _mixed(sides[label], sides[1 - label], planted.bit_noise)
        found[:, NOISY, label] = shown.sum(axis=1)
    return found + np.log(0.5)


def log_odds(joint: Floats, planted: Planted) -> Floats:
    """`(rows,)` log of the chances of yes against no; above 0 the best guess is yes."""
    with np.errstate(divide="ignore"):
        weighted = joint + np.log(planted.shares)[:, None]
    both = np.logaddexp.reduce(weighted, axis=1)
    return both[:, 1] - both[:, 0]


def sampled_by_size(planted: Planted) -> tuple[Floats, float, int]:
    """`(modalities + 1, kinds)` accuracy of the rule on drawn rows, by how many parts are seen.

    Of a drawn row counts the chance, given its kind, that the guess is right, which scatters less
    than whether it was. Also the largest standard error over all rows, and the draws of each kind.
    """
    modalities = len(planted.dims)
    draws = max(_FEWEST_DRAWS, _MOST_DRAWS >> (modalities - 2))
    found = np.full((modalities + 1, len(KINDS)), 0.5)
    variances = np.zeros((modalities + 1, len(KINDS)))
    for kind in range(len(KINDS)):
        if planted.shares[kind] == 0:
            continue
        sums = np.zeros((modalities + 1, 2))
        random = generator(0, 2, kind)  # the model, and so its ceilings, are those of every seed
        for start in range(0, draws, _CHUNK_ROWS):
            rows = min(_CHUNK_ROWS, draws - start)
            for seen, right in _right(planted, kind, rows, random):
                sums[seen] += right.sum(), (right**2).sum()
        found[1:, kind] = sums[1:, 0] / draws
        variances[1:, kind] = (sums[1:, 1] / draws - found[1:, kind] ** 2) / draws
    whole = np.sqrt(np.maximum(variances, 0) @ np.square(planted.shares))
    return found, float(whole.max()), draws


def _right(
    planted: Planted, kind: int, rows: int, random: np.random.Generator
) -> list[tuple[int, Floats]]:
    """For each number of parts seen, the chance of each drawn row that its guess is right."""
    only = tuple(float(other == kind) for other in range(len(KINDS)))
    truth = draw(replace(planted, shares=only), rows, random)
    coordinates = truth.codes()
    coordinates += planted.noise * random.standard_normal(coordinates.shape)
    found = []
    for seen in range(1, len(planted.dims) + 1):
        present = np.broadcast_to(np.arange(len(planted.dims)) < seen, truth.present.shape)
        joint = log_joint(coordinates, present, planted)
        guess = np.where(log_odds(joint, planted) > 0, 1, -1)
        against = guess * (joint[:, kind, 0] - joint[:, kind, 1])
        found.append((seen, np.exp(-np.logaddexp(0, against))))
    return found


def _mixed(same: Floats, other: Floats, flips: float) -> Floats:
    """Log of the mean of two chances, the other one with the weight `flips`."""
    if flips == 0:
        return same
    return np.logaddexp(same + np.log1p(-flips), other + np.log(flips))


def _parity(no: Floats, yes: Floats) -> tuple[Floats, Floats]:
    """`(rows,)` twice: log of the chance of `(rows, modalities)` bits of even and of odd parity."""
    even, odd = np.zeros(len(no)), np.full(len(no), -np.inf)
    for modality in range(no.shape[1]):
        zero, one = no[:, modality], yes[:, modality]
        even, odd = (
            np.logaddexp(even + zero, odd + one),
            np.logaddexp(odd + zero, even + one),
        )
    halved = (no.shape[1] - 1) * np.log(2)
    return even - halved, odd - halved
