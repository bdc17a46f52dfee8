"""Ways to make what a fusion reads worse: each acts on one modality of a copy of the inputs.

A copy shares all it can with the inputs it came from; nothing in memory or on the disk is changed.
What happens to a row depends on the rows under evaluation, the seed, the modality and the severity,
never on how they are batched. Knows nothing about labels, scores or networks.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.registry import Registry, load_attribute
from mmcli.fusion.inputs import Inputs, Modality, Rows, Vectors, View

#: From inputs, modality, rows under evaluation, severity and seed to changed inputs.
Apply = Callable[[Inputs, str, Rows, float, int], Inputs]
EMBEDDINGS = "embeddings"
_SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
#: Rows that draw their noise together: a generator for each costs as much as 1,000 numbers.
_BLOCK = 64


@dataclass(frozen=True)
class Corruption:
    """One way to make a modality worse.

    apply: `module:function`, an `Apply` for what reads `embeddings`. severities: the grades where
    none are told, ascending. share: a severity is a share of the rows, at most 1. reads: what it
    changes, `embeddings` of a store or `media`, the pictures and recordings they are made from.
    """

    name: str
    summary: str
    apply: str
    severities: tuple[float, ...]
    share: bool = False
    reads: str = EMBEDDINGS


CORRUPTIONS: Registry[Corruption] = Registry(
    "corruption",
    (
        Corruption(
            "noise",
            "Gaussian noise; severity: its deviation, in standard deviations of each coordinate",
            "mmcli.fusion.corruptions:add_noise",
            (0.25, 0.5, 1.0, 2.0, 4.0),
        ),
        Corruption(
            "dropped",
            "rows lose the part; severity: the share of those that have it",
            "mmcli.fusion.corruptions:drop_parts",
            _SHARES,
            share=True,
        ),
        Corruption(
            "swapped",
            "rows get the part of another row; severity: the share of those that have it",
            "mmcli.fusion.corruptions:swap_parts",
            _SHARES,
            share=True,
        ),
    ),
)


def corrupted(
    corruption: Corruption,
    inputs: Inputs,
    modalities: Sequence[str],
    rows: Rows,
    severity: float,
    seed: int,
) -> Inputs:
    """A copy in which these modalities of these rows are worse, each by itself. 0 changes nothing.

    rows: those under evaluation, each once, in any order.
    """
    apply: Apply = load_attribute(corruption.apply)
    for name in modalities:
        inputs = apply(inputs, name, rows, severity, seed)
    return inputs


def add_noise(inputs: Inputs, modality: str, rows: Rows, severity: float, seed: int) -> Inputs:
    """Gaussian noise on the standardised vectors, or tokens, of the rows that have the part.

    Tokens are shortened first, as the model would, so that means over them do not thin the noise.
    """
    found = inputs.modalities[modality]
    key = _key("noise", modality, severity, seed)
    place = np.full(len(found.present), -1, np.int64)
    place[np.sort(rows)] = np.arange(len(rows))

    def noisy(view: View) -> View:
        step = np.float32(severity) * view.scale

        def vectors(wanted: Rows) -> Vectors:
            noise = _noise(place[wanted], len(view.scale), key)
            return view.raw(wanted) + noise * step

        def tokens(wanted: Rows) -> list[Vectors]:
            each = []
            for at, one in zip(place[wanted], _sequences(view, wanted), strict=True):
                short = view.short(one)
                if at >= 0 and len(short):
                    drawn = np.random.default_rng([*key, int(at)])
                    short = short + drawn.standard_normal(short.shape, np.float32) * step
                each.append(short)
            return each

        return _read_by(view, vectors, tokens)

    return _with(inputs, _changed_views(found, noisy))


def drop_parts(inputs: Inputs, modality: str, rows: Rows, severity: float, seed: int) -> Inputs:
    """A share of the rows that have the part lose it; a larger share takes the same and more."""
    found = inputs.modalities[modality]
    chosen = _chosen(found, rows, severity, _key("dropped", modality, 0.0, seed), least=0)
    present = found.present.copy()
    present[chosen] = False
    views = {name: replace(view, held=None) for name, view in found.views.items()}
    return _with(inputs, replace(found, present=present, views=views))


def swap_parts(inputs: Inputs, modality: str, rows: Rows, severity: float, seed: int) -> Inputs:
    """A share of the rows that have the part pass it round: none of them keeps its own.

    At least two rows do, where there are two and the share is above 0.
    """
    found = inputs.modalities[modality]
    chosen = _chosen(found, rows, severity, _key("swapped", modality, 0.0, seed), least=2)
    source = np.arange(len(found.present), dtype=np.int64)
    source[chosen] = np.roll(chosen, 1)  # in random order: one cycle, so nothing stays in place

    def swapped(view: View) -> View:
        return _read_by(
            view,
            lambda wanted: view.raw(source[wanted]),
            lambda wanted: _sequences(view, source[wanted]),
        )

    return _with(inputs, _changed_views(found, swapped))


# -- copies ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Taker:
    """Stands in a view where a key of a store does. take: vectors, or tokens, of any rows."""

    take: Callable[[Rows], Any]


def _read_by(
    view: View,
    vectors: Callable[[Rows], Vectors],
    tokens: Callable[[Rows], list[Vectors]],
) -> View:
    """The same view of other values; what was held in memory was of the old ones."""
    taker: Any = _Taker(vectors if view.sequences is None else tokens)
    if view.sequences is None:
        return replace(view, maps=(taker,), matrix=None, held=None)
    return replace(view, sequences=taker, held=None)


def _changed_views(modality: Modality, change: Callable[[View], View]) -> Modality:
    return replace(modality, views={name: change(v) for name, v in modality.views.items()})


def _with(inputs: Inputs, changed: Modality) -> Inputs:
    return Inputs({**inputs.modalities, changed.name: changed}, inputs.tabular)


def _sequences(view: View, rows: Rows) -> list[Vectors]:
    assert view.sequences is not None
    return view.sequences.take(rows)


# -- chance ------------------------------------------------------------------------------------


def _key(corruption: str, modality: str, severity: float, seed: int) -> list[int]:
    """What a generator is seeded by."""
    words = [zlib.crc32(word.encode()) for word in (corruption, modality)]
    return [seed, *words, int.from_bytes(struct.pack("<d", severity), "little")]


def _chosen(
    modality: Modality, rows: Rows, severity: float, key: list[int], least: int
) -> NDArray[np.int64]:
    """A share of the rows that have the part, in random order; at least so many of a share > 0."""
    having = np.sort(rows)[modality.present[np.sort(rows)]]
    count = int(severity * len(having) + 0.5)
    if severity > 0 and len(having) >= least:
        count = max(count, least)
    elif len(having) < least:
        count = 0
    return np.random.default_rng(key).permutation(having)[:count].astype(np.int64)


def _noise(places: NDArray[np.int64], dim: int, key: list[int]) -> Vectors:
    """Standard normal float32 `(len(places), dim)`, of each place its own; zeros for place -1."""
    found = np.zeros((len(places), dim), np.float32)
    blocks = np.where(places >= 0, places // _BLOCK, -1)
    for block in np.unique(blocks[blocks >= 0]):
        drawn = np.random.default_rng([*key, int(block)]).standard_normal((_BLOCK, dim), np.float32)
        here = np.flatnonzero(blocks == block)
        found[here] = drawn[places[here] - block * _BLOCK]
    return found
