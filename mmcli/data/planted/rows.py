"""Draws planted rows: kinds, labels, the bits that modalities show, and the vectors of these.

A block of rows depends on the options and its number alone. Knows nothing about files.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmcli.data.planted.model import (
    COMPLEMENTARY,
    KINDS,
    NOISY,
    SPLITS,
    SYNERGISTIC,
    Planted,
    generator,
)

#: Rows of a block, fewer where vectors are so wide that it would hold more numbers than this.
BLOCK_ROWS = 65_536
_BLOCK_NUMBERS = 16_000_000


@dataclass(frozen=True)
class Truth:
    """What rows are, before anything is hidden in vectors.

    kinds, labels, splits: int8 `(rows,)`, places in `KINDS`, `LABELS` and `SPLITS`. shown: int8
    `(rows, modalities)`, +1 or -1 for the bit that a modality shows, 0 where it shows none.
    present: bool `(rows, modalities)`.
    """

    kinds: NDArray[np.int8]
    labels: NDArray[np.int8]
    splits: NDArray[np.int8]
    shown: NDArray[np.int8]
    present: NDArray[np.bool_]

    def codes(self) -> NDArray[np.float64]:
        """`(rows, modalities, kinds)`: what each modality shows, in the coordinate of its kind."""
        rows, modalities = self.shown.shape
        found = np.zeros((rows, modalities, len(KINDS)))
        found[np.arange(rows), :, self.kinds] = self.shown
        return found


def blocks(planted: Planted) -> list[int]:
    """How many rows each block has; the last may have fewer."""
    most = max(1, min(BLOCK_ROWS, _BLOCK_NUMBERS // sum(planted.dims)))
    return [min(most, planted.n - start) for start in range(0, planted.n, most)]


def block_stream(planted: Planted, number: int) -> np.random.Generator:
    """The random numbers of a block."""
    return generator(planted.seed, 1, number)


def draw(planted: Planted, rows: int, random: np.random.Generator) -> Truth:
    """Rows of the model."""
    modalities = len(planted.dims)
    shares = np.array(planted.shares) / sum(planted.shares)
    kinds = random.choice(len(KINDS), rows, p=shares).astype(np.int8)
    bits = random.integers(0, 2, rows, np.int8)
    flipped = (random.random(rows) < planted.label_noise) & (kinds != NOISY)
    labels = bits ^ flipped
    seen = np.repeat(bits[:, None], modalities, axis=1)
    wrong = random.random((rows, modalities)) < planted.bit_noise
    seen ^= wrong & (kinds == NOISY)[:, None]
    free = random.integers(0, 2, (rows, modalities), np.int8)
    free[:, -1] = (
        np.bitwise_xor.reduce(free[:, :-1], axis=1) ^ bits
    )  # so that the parity is the bit
    seen = np.where((kinds == SYNERGISTIC)[:, None], free, seen)
    chosen = random.integers(0, modalities, rows)
    silent = (kinds == COMPLEMENTARY)[:, None] & (np.arange(modalities) != chosen[:, None])
    places = random.random(rows)
    ends = np.array([planted.test_fraction, planted.test_fraction + planted.val_fraction])
    order = np.array([SPLITS.index(name) for name in ("test", "val", "train")], np.int8)
    return Truth(
        kinds=kinds,
        labels=labels.astype(np.int8),
        splits=order[np.searchsorted(ends, places, side="right")],
        shown=np.where(silent, 0, 2 * seen - 1).astype(np.int8),
        present=random.random((rows, modalities)) >= planted.missing,
    )


def vectors(
    truth: Truth,
    modality: int,
    encoder: NDArray[np.float64],
    noise: float,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """float32 `(rows, dim)` of one modality; zeros where the part is absent."""
    found = random.standard_normal((len(truth.kinds), len(encoder)), np.float32)
    found *= np.float32(noise)
    found += encoder.T.astype(np.float32)[truth.kinds] * truth.shown[:, modality, None]
    found[~truth.present[:, modality]] = 0
    return found
