"""The towers that training starts from: what is shared already plus something that learns.

Where every modality has a key in one space, a tower is that key's vector plus a residual of the
other keys (of the same, where there is no other) whose last layer starts at zero, so that training
begins at what the space can do already. Else it is a map into a space of its own. Knows nothing of
losses.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from mmcli.align.features import Features, Part, Rows, Vectors, statistics
from mmcli.align.tower import Branch, Tower, branch_input
from mmcli.core.errors import UsageError

KINDS = ("linear", "mlp")
#: Width of a space that nothing is shared in.
WIDTH = 256
#: So far may a length be from 1 in a key that has unit length (bf16 and fp16 round to 1e-3).
UNIT_ERROR = 2e-3


def starting_towers(
    features: Features, *, kind: str, dim: int | None, hidden: int, seed: int
) -> tuple[dict[str, Tower], dict[str, frozenset[int]]]:
    """A tower for each modality, and the numbers of its branches that learn.

    kind: `linear` or `mlp`. dim: None is the width of the shared space, else 256; a width that is
    given turns the shared space off. Raises UsageError for another kind.
    """
    random = np.random.default_rng(seed)
    shared = {name: features.shared_key(name) for name in features.modalities}
    residual = dim is None and all(shared.values())
    towers: dict[str, Tower] = {}
    trained: dict[str, frozenset[int]] = {}
    for name, part in features.parts.items():
        key = shared[name] if residual else None
        width = part.dim(key) if key else dim or WIDTH
        rows = features.rows_with(features.train, name)
        keys = tuple(other for other in part.keys if other != key) or part.keys
        number = 1 if key else 0
        branch, arrays = learning_branch(
            part, keys, preparation(part, keys, rows), rows, width,
            kind=kind, hidden=hidden, from_zero=bool(key), number=number, random=random, seed=seed,
        )  # fmt: skip
        first = (Branch((key,), "identity", unit_output=True),) if key else ()
        towers[name] = Tower((*first, branch), width, arrays=arrays)
        trained[name] = frozenset({number})
    return towers, trained


def mapping_tower(
    part: Part,
    rows: Rows,
    width: int,
    *,
    prepare: tuple[str, ...],
    bridge: tuple[str, int] | None,
    kind: str,
    hidden: int,
    seed: int,
) -> Tower:
    """A tower from one modality into the space of another's own vectors; its last branch learns.

    bridge: a key that is in that space already, and the coordinate at which it stands there.
    """
    branches: list[Branch] = []
    arrays: dict[str, Vectors] = {}
    keys = part.keys
    if bridge is not None:
        key, at = bridge
        dim = part.dim(key)
        place = np.pad(np.eye(dim, dtype=np.float32), ((0, 0), (at, width - at - dim)))
        branches.append(Branch((key,), "linear", prepare, layers=1))
        arrays |= {"0.weight0": place, "0.bias0": np.zeros(width, np.float32)}
        keys = tuple(other for other in keys if other != key) or keys
    branch, learned = learning_branch(
        part, keys, prepare, rows, width, kind=kind, hidden=hidden, from_zero=bridge is not None,
        number=len(branches), random=np.random.default_rng(seed), seed=seed,
    )  # fmt: skip
    return Tower((*branches, branch), width, arrays=arrays | learned)


def learning_branch(
    part: Part,
    keys: tuple[str, ...],
    prepare: tuple[str, ...],
    rows: Rows,
    width: int,
    *,
    kind: str,
    hidden: int,
    from_zero: bool,
    number: int,
    random: np.random.Generator,
    seed: int,
) -> tuple[Branch, dict[str, Vectors]]:
    """A branch that learns, standardised by the train rows, and where its arrays start.

    from_zero: its output is nothing at first. Raises UsageError for an unknown kind.
    """
    if kind not in KINDS:
        raise UsageError(f"`--tower {kind}` is unknown", "use linear, mlp or auto")
    layers = 1 if kind == "linear" else 2
    body = "linear" if kind == "linear" else "mlp"
    branch = Branch(keys, body, prepare, standardized=True, layers=layers)  # type: ignore[arg-type]

    def prepared(vectors: Any) -> Vectors:
        return branch_input(branch, vectors)

    mean, scale = statistics(part, keys, rows, prepared, seed)
    widths = [len(mean), *([hidden] if layers == 2 else []), width]
    arrays: dict[str, Vectors] = {f"{number}.mean": mean, f"{number}.scale": scale}
    for layer, (before, after) in enumerate(pairwise(widths)):
        last = layer == layers - 1
        # LeCun et al. 1998 less a factor of three: torch's own default, found to overfit less here
        # than the larger start of He et al. 2015; nothing at all at the end of a residual
        deviation = 0.0 if last and from_zero else np.sqrt(1 / (3 * before))
        weight = random.standard_normal((before, after)) * deviation
        arrays[f"{number}.weight{layer}"] = weight.astype(np.float32)
        arrays[f"{number}.bias{layer}"] = np.zeros(after, np.float32)
    return branch, arrays


def preparation(part: Part, keys: tuple[str, ...], rows: Rows) -> tuple[str, ...]:
    """Square roots for features that are never negative, whose largest would drown the rest.

    Nothing for keys of unit length, where a pass over wide vectors would change no bit that counts.
    """
    sample = part.take(rows[:: max(1, len(rows) // 1000)][:1000], keys)
    positive = all(float(v.min(initial=0)) >= 0 for v in sample.values())
    if positive:
        return ("sqrt", "unit")
    lengths = np.concatenate([np.linalg.norm(v, axis=1) for v in sample.values()])
    return () if np.abs(lengths - 1).max(initial=0) < UNIT_ERROR else ("unit",)
