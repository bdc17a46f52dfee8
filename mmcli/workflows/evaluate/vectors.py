"""What an evaluation compares: the unit vectors of a key or an aligned modality, and which rows.

Reads a store a batch at a time, through an aligner where one is given. Knows nothing of scores.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.core.registry import suggestion
from mmcli.engine.device import place, probe
from mmcli.store.reader import Store
from mmcli.workflows.queries.plans import key_of_modality, modality_of_key

if TYPE_CHECKING:
    from mmcli.align.aligner import Aligner

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Side:
    """One side of an evaluation.

    name: a key, or with an aligner a modality. rows: `(n,)`, the rows of the store that have it,
    in the order asked for. vectors: `(n, dim)` of length 1. lacking: how many of the rows asked
    for have no vector there.
    """

    name: str
    modality: str
    space: str
    rows: Rows
    vectors: Vectors
    lacking: int


def open_aligner(path: str | None) -> "Aligner | None":
    """The aligner at a path; None without one."""
    if path is None:
        return None
    from mmcli.align.aligner import Aligner

    return Aligner.open(path)


def resolve_names(
    store: Store, names: tuple[str, str], aligner: "Aligner | None"
) -> tuple[str, str]:
    """The keys (with an aligner the modalities) that the user's words name.

    A modality stands for the store's first key of it. Raises BadInput for a name that nothing
    has, SpaceMismatch when the two may not be compared or the aligner does not fit the store.
    """
    first, second = resolve_name(store, names[0], aligner), resolve_name(store, names[1], aligner)
    if aligner is not None:
        return first, second
    one, other = store.keys[first], store.keys[second]
    if first != second and (not one["space"] or one["space"] != other["space"]):
        raise SpaceMismatch(
            f"`{store.path}`: key `{first}` is in space `{one['space'] or 'unknown'}`, key"
            f" `{second}` in `{other['space'] or 'unknown'}`",
            f"bring them into one: `mmcli align train {store.path} --between"
            f" {modality_of_key(first, one)},{modality_of_key(second, other)} -o ALIGNER`, then"
            " `--aligner ALIGNER`",
        )
    if one["dim"] != other["dim"]:
        raise SpaceMismatch(
            f"`{store.path}`: key `{first}` has {one['dim']} dimensions, key `{second}`"
            f" {other['dim']}",
            "extract them with the same `--dim`",
        )
    return first, second


def resolve_name(store: Store, name: str, aligner: "Aligner | None") -> str:
    """The key, or with an aligner the modality, that a word names. Raises as `resolve_names`."""
    if aligner is None:
        return _key(store, name)
    entry = store.keys.get(name)
    modality = name if entry is None else modality_of_key(name, entry)
    if modality not in aligner.modalities:
        raise UsageError(
            f"the aligner does not map `{name}`", suggestion(name, list(aligner.modalities))
        )
    aligner.check(store, modality)
    return modality


def load_side(store: Store, name: str, rows: Rows, aligner: "Aligner | None" = None) -> Side:
    """The unit vectors of `rows` of a store, in their order; rows without one are left out.

    name: as `resolve_names` gave it. Raises BadInput, naming the row, where a vector is not finite.
    """
    place_of = np.full(store.rows, -1, np.int64)
    place_of[rows] = np.arange(len(rows))
    dim = store.key(name)["dim"] if aligner is None else aligner.dim
    vectors = np.zeros((len(rows), dim), np.float32)
    present = np.zeros(len(rows), bool)
    for numbers, found in _batches(store, name, aligner, place_of >= 0):
        # summed row by row in one order, so that equal vectors stay equal
        length = np.sqrt((found.astype(np.float64) ** 2).sum(axis=1))
        directed = length > 0
        at = place_of[numbers[directed]]
        vectors[at] = found[directed] / length[directed, None].astype(np.float32)
        present[at] = True
    if not present.all():
        vectors = vectors[present]
    if aligner is None:
        modality, space = modality_of_key(name, store.keys[name]), store.keys[name]["space"]
    else:
        modality, space = name, aligner.space
    return Side(name, modality, space, rows[present], vectors, int((~present).sum()))


def device_for_scores(device: str) -> str:
    """Where products run, as torch names it; Apple's GPU has no double precision, so the CPU."""
    placed = place(device, "fp32", probe()).device
    return "cpu" if placed == "mps" else placed


def _batches(
    store: Store, name: str, aligner: "Aligner | None", wanted: NDArray[np.bool_]
) -> Iterator[tuple[Rows, Vectors]]:
    """Row numbers `(n,)` and their vectors `(n, dim)`, of wanted rows that have one, in batches.

    Through an aligner a row has a vector when every key that its tower reads is there.
    """
    keys = (name,) if aligner is None else aligner.keys(name)
    usable = np.logical_and.reduce([wanted, *(store.has(key).astype(bool) for key in keys)])
    for parts in zip(*(store.iter(key) for key in keys), strict=True):
        start, first = parts[0]
        rows = np.flatnonzero(usable[start : start + len(first)])
        if not len(rows):
            continue
        given = {key: found[rows] for key, (_, found) in zip(keys, parts, strict=True)}
        for key, found in given.items():
            _refuse_odd(store, key, start + rows, found)
        yield start + rows, given[name] if aligner is None else aligner.apply(name, given)


def _refuse_odd(store: Store, key: str, rows: Rows, found: Vectors) -> None:
    odd = rows[~np.isfinite(found).all(axis=1)]
    if len(odd):
        identity = store.items(["id"]).column("id")[int(odd[0])].as_py()
        raise BadInput(
            f"`{store.path}`: key `{key}` of item `{identity}` (row {odd[0]}) is not finite",
            "extract the store again, or leave that row out",
        )


def _key(store: Store, name: str) -> str:
    if name in store.keys:
        return name
    key = key_of_modality(store.keys, name)
    if key is not None:
        return key
    raise BadInput(f"`{store.path}` has no key `{name}`", suggestion(name, store.keys))
