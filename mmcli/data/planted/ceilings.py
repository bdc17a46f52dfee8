"""How good anyone can be on planted data: the Bayes rule of the model, from each set of modalities.

Without noise a vector is its code, so every code that can be observed is enumerated and the better
label taken. Where the noise is loud enough to hide codes, the rule is tried on drawn rows instead
(`posterior.py`). Presence of a part is seen, and tells nothing about the label.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations, product
from math import comb, erfc, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.data.planted.model import COMPLEMENTARY, KINDS, NOISY, REDUNDANT, Planted
from mmcli.data.planted.posterior import sampled_by_size

#: Chances of a mistaken code below this are left out of the figures.
NEGLIGIBLE = 1e-6
_TIE = 1e-12

#: What a modality shows: 0, or the coordinate of a kind from 1 and a sign.
Code = int
State = tuple[float, tuple[Code, ...], int]


def ceilings(planted: Planted) -> dict[str, Any]:
    """The best accuracy from each set of modalities: over all rows (`all`) and by kind.

    with_part: the share of rows that have a part of the set; a row that has none is guessed.
    bit_error: how often noise turns the sign of a bit, code_error: how often it makes a code look
    like another one, at a distance of the square root of 2, that speaks for the other label.
    """
    by_size, facts = accuracy_by_size(planted)
    modalities = len(planted.dims)
    best = {}
    for size in range(modalities, 0, -1):
        there = [
            comb(size, count) * (1 - planted.missing) ** count * planted.missing ** (size - count)
            for count in range(size + 1)
        ]
        by_kind = np.array(there) @ by_size[: size + 1]
        figures = {
            "with_part": 1 - there[0],
            "all": float(np.array(planted.shares) @ by_kind),
            **{
                kind: float(accuracy)
                for kind, accuracy, share in zip(KINDS, by_kind, planted.shares, strict=True)
                if share > 0
            },
        }
        rounded = {name: round(figure, 9) for name, figure in figures.items()}
        for members in combinations(planted.keys, size):
            best["+".join(members)] = dict(rounded)
    return {**facts, "accuracy": best}


def accuracy_by_size(planted: Planted) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """`(modalities + 1, kinds)` best accuracy on rows of a kind where that many parts are seen.

    Which ones does not matter: the model treats all modalities alike. Beside it how it was found.
    """
    errors = {
        "bit_error": _beyond(1, planted.noise),
        "code_error": _beyond(sqrt(0.5), planted.noise),
    }
    if errors["code_error"] < NEGLIGIBLE:
        return enumerated_by_size(planted), {"method": "exact, noise left out", **errors}
    found, deviation, draws = sampled_by_size(planted)
    facts = {"method": "Monte Carlo of the exact rule", "draws_by_kind": draws}
    return found, {**facts, "standard_error": float(f"{deviation:.2g}"), **errors}


def _beyond(distance: float, noise: float) -> float:
    """How often Gaussian noise goes that far in one direction."""
    return float(f"{0.5 * erfc(distance / noise / sqrt(2)):.6g}") if noise > 0 else 0.0


def enumerated_by_size(planted: Planted) -> NDArray[np.float64]:
    """`(modalities + 1, kinds)` by enumeration of all codes, as if there were no noise."""
    modalities = len(planted.dims)
    found = np.empty((modalities + 1, len(KINDS)))
    every = [list(states(kind, planted)) for kind in range(len(KINDS))]
    for seen in range(modalities + 1):
        joint: dict[tuple[Code, ...], NDArray[np.float64]] = defaultdict(
            lambda: np.zeros((len(KINDS), 2))
        )
        for kind, mine in enumerate(every):
            for chance, codes, label in mine:
                joint[codes[:seen]][kind, label] += chance
        found[seen] = 0
        shares = np.array(planted.shares)
        for chances in joint.values():
            no, yes = shares @ chances
            if abs(no - yes) < _TIE:
                found[seen] += chances.mean(axis=1)
            else:
                found[seen] += chances[:, int(yes > no)]
    return found


def states(kind: int, planted: Planted) -> Iterator[State]:
    """Every chance, code of each modality, and label that rows of a kind can have."""
    modalities = len(planted.dims)
    for bit, label in product((0, 1), repeat=2):
        flip = planted.label_noise if bit != label else 1 - planted.label_noise
        if kind == REDUNDANT:
            yield flip / 2, (_code(kind, bit),) * modalities, label
        elif kind == COMPLEMENTARY:
            for chosen in range(modalities):
                codes = [0] * modalities
                codes[chosen] = _code(kind, bit)
                yield flip / 2 / modalities, tuple(codes), label
        elif kind == NOISY:
            if bit != label:  # the label itself is the truth
                continue
            for bits in product((0, 1), repeat=modalities):
                wrong = sum(shown != bit for shown in bits)
                chance = planted.bit_noise**wrong * (1 - planted.bit_noise) ** (modalities - wrong)
                yield chance / 2, tuple(_code(kind, shown) for shown in bits), label
        else:
            for bits in product((0, 1), repeat=modalities):
                if sum(bits) % 2 == bit:
                    codes = [_code(kind, shown) for shown in bits]
                    yield flip / 2**modalities, tuple(codes), label


def _code(kind: int, bit: int) -> Code:
    return (kind + 1) * (1 if bit else -1)
