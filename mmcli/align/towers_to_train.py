"""The towers that training starts from: what is shared already plus something that learns.

Where every modality has a key in one space, a tower is that key's vector plus a residual whose last
layer starts at zero, so that training begins at what the space can do already. Else it is a map into
a space of its own. Knows nothing about losses.
"""

from typing import Any, Literal

import numpy as np

from mmcli.align.features import Features, Part, Rows, Vectors, statistics
from mmcli.align.tower import Branch, Tower, branch_input
from mmcli.core.errors import UsageError

Kind = Literal["linear", "mlp"]
KINDS = ("auto", "linear", "mlp")
#: Width of a space that nothing is shared in.
WIDTH = 256


def starting_towers(
    features: Features, *, kind: str, dim: int | None, hidden: int, seed: int
) -> tuple[dict[str, Tower], dict[str, frozenset[int]]]:
    """A tower for each modality, and the numbers of its branches that learn.

    kind: `linear`, `mlp`, or `auto`, which is `mlp`. dim: None is the width of the shared space,
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
    branch = Branch(
        part.keys, "linear" if kind == "linear" else "mlp", _prepare(part, rows), standardized=True,
        layers=1 if kind == "linear" else 2,
    )  # fmt: skip

    def prepared(vectors: Any) -> Vectors:
        return branch_input(branch, vectors)

    mean, scale = statistics(part, part.keys, rows, prepared, seed)
    widths = [len(mean), *([hidden] if branch.layers == 2 else []), width]
    arrays: dict[str, Vectors] = {f"{number}.mean": mean, f"{number}.scale": scale}
    for layer, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
        last = layer == branch.layers - 1
        # He et al. 2015 before a rectifier; one over the width for the last, zero for a residual
        deviation = 0.0 if last and shared else (1.0 if last else 2.0) / before
        weight = random.standard_normal((before, after)) * np.sqrt(deviation)
        arrays[f"{number}.weight{layer}"] = weight.astype(np.float32)
        arrays[f"{number}.bias{layer}"] = np.zeros(after, np.float32)
    branches: tuple[Branch, ...] = (branch,)
    if shared:
        branches = (Branch((shared,), "identity", unit_output=True), branch)
    return Tower(branches, width, arrays=arrays)


def _prepare(part: Part, rows: Rows) -> tuple[str, ...]:
    """Square roots for features that are never negative: their large values would drown the rest."""
    sample = part.take(rows[:: max(1, len(rows) // 1000)][:1000])
    positive = all(float(v.min(initial=0)) >= 0 for v in sample.values())
    return ("sqrt", "unit") if positive else ("unit",)
