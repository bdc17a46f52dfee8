"""The model of planted data: what kinds of rows there are, and how each modality shows its bits.

A row is of one kind, which says how its label and what its modalities show belong together. A
modality's vector is `E @ code` plus Gaussian noise, E orthonormal; the code has a coordinate for
each kind, +1 or -1 for the bit that is shown and 0 elsewhere. Knows nothing about files.

Source of the idea: redundant, unique and synergistic information of two sources about a third
(Williams and Beer 2010, arXiv 1004.2515).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import UsageError

KINDS = ("redundant", "complementary", "noisy", "synergistic")
REDUNDANT, COMPLEMENTARY, NOISY, SYNERGISTIC = range(len(KINDS))
LABELS = ("no", "yes")
SPLITS = ("train", "val", "test")
MOST_MODALITIES = 6
_KEYS = ("image", "text", "speech", "video")
#: Beyond it nothing of the bits is left.
_LOUDEST = 10.0


@dataclass(frozen=True)
class Planted:
    """What is made.

    n: rows. dims: the width of each modality's vectors. shares: of each kind, as in `KINDS`.
    label_noise: how often the label is not the bit. bit_noise: how often a modality of a noisy row
    shows the other bit. noise: the deviation of every coordinate of a vector. missing: the share of
    parts that are absent.
    """

    n: int = 10_000
    dims: tuple[int, ...] = (32, 16)
    shares: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)
    label_noise: float = 0.1
    bit_noise: float = 0.2
    noise: float = 0.1
    missing: float = 0.0
    test_fraction: float = 0.4
    val_fraction: float = 0.1
    seed: int = 0

    @property
    def keys(self) -> tuple[str, ...]:
        """The key of each modality in a store: image, text, speech, video, image:m5 …"""
        more = (f"image:m{number}" for number in range(len(_KEYS) + 1, len(self.dims) + 1))
        return (*_KEYS, *more)[: len(self.dims)]

    def options(self) -> dict[str, Any]:
        """All that says what is made."""
        return {
            **vars(self),
            "dims": dict(zip(self.keys, self.dims, strict=True)),
            "shares": dict(zip(KINDS, self.shares, strict=True)),
        }

    def check(self) -> None:
        """Raise UsageError when nothing can be made of these numbers."""
        if self.n < 1:
            raise UsageError(f"`-n {self.n}` rows are none", "give 1 or more")
        if not 2 <= len(self.dims) <= MOST_MODALITIES:
            raise UsageError(
                f"`--modalities {len(self.dims)}` cannot be made", f"give 2 to {MOST_MODALITIES}"
            )
        for dim in self.dims:
            if dim < len(KINDS):
                raise UsageError(
                    f"`--dims {dim}` is too narrow", f"{len(KINDS)} or more: one for each kind"
                )
        for kind, share in zip(KINDS, self.shares, strict=True):
            _check_within(f"--{kind}", share, 0, 1)
        total = sum(self.shares)
        if abs(total - 1) > 1e-9:
            raise UsageError(f"the shares of the kinds add up to {total:g}, not 1", _SHARES)
        for option, value in (("--label-noise", self.label_noise), ("--bit-noise", self.bit_noise)):
            _check_within(option, value, 0, 0.5)
        _check_within("--noise", self.noise, 0, _LOUDEST)
        for option, value in (
            ("--missing", self.missing),
            ("--test-fraction", self.test_fraction),
            ("--val-fraction", self.val_fraction),
        ):
            _check_within(option, value, 0, 1)
        if self.missing == 1:
            raise UsageError("`--missing 1` leaves no part", "give less than 1")
        if self.test_fraction + self.val_fraction >= 1:
            raise UsageError(
                f"`--test-fraction {self.test_fraction:g}` and `--val-fraction"
                f" {self.val_fraction:g}` leave nothing to train on",
                "they add up to less than 1",
            )
        if self.seed < 0:
            raise UsageError(f"`--seed {self.seed}` is below 0", "give 0 or more")


_SHARES = "kinds: " + ", ".join(f"`--{kind}`" for kind in KINDS) + "; one that is left out has none"


def _check_within(option: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UsageError(f"`{option} {value:g}` is out of range", f"give {least:g} to {most:g}")


def encoders(planted: Planted) -> list[NDArray[np.float64]]:
    """The matrix E of each modality, `(dim, kinds)`, its columns orthonormal."""
    random = generator(planted.seed, 0)
    found = []
    for dim in planted.dims:
        columns, upper = np.linalg.qr(random.standard_normal((dim, len(KINDS))))
        found.append(columns * np.sign(np.diag(upper)))  # QR alone leaves the signs open
    return found


def generator(seed: int, *path: int) -> np.random.Generator:
    """A stream of random numbers of its own for each path under a seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=path))
