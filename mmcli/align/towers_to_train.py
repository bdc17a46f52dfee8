"""The towers that training starts from: what is shared already plus something that learns.

Where every modality has a key in one space, a tower is that key's vector plus a residual of the
other keys (of the same, where there is no other) whose last layer starts at zero, so that training
begins at what the space can do already. Else it is a map into a space of its own. Knows nothing of
losses.
"""

from itertools import pairwise
from typing import Any, Literal

import numpy as np

from mmcli.align.features import Features, Part, Rows, Vectors, statistics
from mmcli.align.tower import Branch, Tower, branch_input
from mmcli.core.errors import UsageError

Kind = Literal["linear", "mlp"]
KINDS = ("linear", "mlp")
#: Width of a space that nothing is shared in.
WIDTH = 256


def starting_towers(
    features: Features, *, kind: str, dim: int | None, hidden: int, seed: int
) -> tuple[dict[str, Tower], dict[str, frozenset[int]]]:
    """A tower for each modality, and the numbers of its branches that learn.

    kind: `linear` or `mlp`. dim: None is the width of the shared space,
    else 256; a width that is given turns the shared space off. Raises UsageError for another kind.
    """
    if kind not in KINDS:
        raise UsageError(f"`--tower {kind}` is unknown", "use linear, mlp or auto")
    random = np.random.default_rng(seed)
    shared = {name: features.shared_key(name) for name in features.modalities}
    residual = dim is None and all(shared.values())
    towers: dict[str, Tower] = {}
    trained: dict[str, frozenset[int]] = {}
    for name, part in features.parts.items():
        key = shared[name] if residual else None
        width = part.dim(key) if key else dim or WIDTH
        rows = features.rows_with(features.train, name)
        towers[name] = _tower(part, rows, key, kind, width, hidden, random, seed)
        trained[name] = frozenset({1 if key else 0})
    return towers, trained


def mapping_tower(
    part: Part,
    rows: Rows,
    width: int,
    *,
    shared: str | None,
    kind: str,
    hidden: int,
    seed: int,
) -> Tower:
    """A tower from all keys of a modality to vectors of another's width; its last branch learns."""
    return _tower(part, rows, shared, kind, width, hidden, np.random.default_rng(seed), seed)


def _tower(
    part: Part,
    rows: Rows,
    shared: str | None,
    kind: str,
    width: int,
    hidden: int,
    random: np.random.Generator,
    seed: int,
) -> Tower:
    number = 1 if shared else 0
    keys = tuple(key for key in part.keys if key != shared) or part.keys
    branch = Branch(
        keys,
        "linear" if kind == "linear" else "mlp",
        _prepare(part, keys, rows),
        standardized=True,
        layers=1 if kind == "linear" else 2,
    )

    def prepared(vectors: Any) -> Vectors:
        return branch_input(branch, vectors)

    mean, scale = statistics(part, keys, rows, prepared, seed)
    widths = [len(mean), *([hidden] if branch.layers == 2 else []), width]
    arrays: dict[str, Vectors] = {f"{number}.mean": mean, f"{number}.scale": scale}
    for layer, (before, after) in enumerate(pairwise(widths)):
        last = layer == branch.layers - 1
        # LeCun et al. 1998 less a factor of three: torch's own default, found to overfit less here
        # than the larger start of He et al. 2015; nothing at all at the end of a residual
        deviation = 0.0 if last and shared else np.sqrt(1 / (3 * before))
        weight = random.standard_normal((before, after)) * deviation
        arrays[f"{number}.weight{layer}"] = weight.astype(np.float32)
        arrays[f"{number}.bias{layer}"] = np.zeros(after, np.float32)
    branches: tuple[Branch, ...] = (branch,)
    if shared:
        branches = (Branch((shared,), "identity", unit_output=True), branch)
    return Tower(branches, width, arrays=arrays)


def _prepare(part: Part, keys: tuple[str, ...], rows: Rows) -> tuple[str, ...]:
    """Square roots for features that are never negative, whose largest would drown the rest."""
    sample = part.take(rows[:: max(1, len(rows) // 1000)][:1000], keys)
    positive = all(float(v.min(initial=0)) >= 0 for v in sample.values())
    return ("sqrt", "unit") if positive else ("unit",)
