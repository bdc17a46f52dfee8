"""Alignment in closed form: every other modality is mapped into the space of one, the anchor.

Where a modality has a key in the anchor's space already (a bridge), the map is added to it:
z = u + w m / |m|, with u the unit vector that is there and m the mapped one. Penalty, width and w
are chosen by hit@k on inner folds of the rows that may be trained on. Formulas and sources stand
in `closed_form.py`; with `auto` the best of the four wins.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.align.closed_form import Map, cca, kernel_ridge, procrustes, ridge
from mmcli.align.features import Features, Part, Rows, Vectors, inner_folds, subset
from mmcli.align.fitting import AlignOptions, FitRun, Fitted
from mmcli.align.scoring import KS, score_towers
from mmcli.align.tower import Branch, Tower, branch_input, unit
from mmcli.core.errors import BadInput, UsageError

VARIANTS = ("ridge", "kernel", "procrustes", "cca")
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
WIDTHS = (0.5, 1.0, 2.0)
#: How much the map weighs beside what is shared already.
WEIGHTS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
CCA_PENALTIES, CCA_DIM = (0.1, 1.0), 128
INNER_FOLDS = 5
#: With more pairs than this two inner folds decide as well.
MANY_ROWS = 5_000
#: More rows than this are sampled: a closed form gains nothing from more.
MOST_ROWS = 10_000
MOST_HELD = 4000
MOST_LANDMARKS = 1024


@dataclass(frozen=True)
class Setting:
    """One way to make a map."""

    variant: str
    penalty: float = 0.0
    width: float = 0.0
    weight: float = 1.0

    def told(self) -> dict[str, Any]:
        """As it is written down: what does not belong to the variant is left out."""
        found: dict[str, Any] = {"variant": self.variant, "weight": self.weight}
        if self.variant != "procrustes":
            found["penalty"] = self.penalty
        if self.variant == "kernel":
            found["width"] = self.width
        return found


@dataclass(frozen=True)
class _Side:
    """One modality as a map sees it: what it reads, and what of it is shared with the anchor."""

    part: Part
    keys: tuple[str, ...]
    prepare: tuple[str, ...]
    bridge: str | None

    def x(self, rows: Rows) -> Vectors:
        """Prepared vectors `(rows, dx)`."""
        return branch_input(Branch(self.keys, "linear", self.prepare), self.part.take(rows))

    def base(self, rows: Rows) -> Vectors | None:
        """Unit vectors that are in the anchor's space already."""
        if self.bridge is None:
            return None
        return unit(self.part.take(rows, (self.bridge,))[self.bridge])


def fit(features: Features, options: AlignOptions, run: FitRun) -> Fitted:
    """Towers in the anchor's space (of a space of its own for CCA), and how they were chosen.

    Raises UsageError for CCA of more than two modalities or an anchor that is not aligned.
    """
    anchor = _anchor(features, options)
    others = [name for name in features.modalities if name != anchor]
    wanted = VARIANTS if options.variant in ("", "auto") else (options.variant,)
    if len(others) > 1:
        if wanted == ("cca",):
            raise UsageError("`linear:cca` aligns two modalities", "use ridge for more")
        wanted = tuple(variant for variant in wanted if variant != "cca")
    few = len(features.train) + len(features.val) <= MANY_ROWS
    folds = inner_folds(features, INNER_FOLDS if few else 2, run.seed)
    key = features.shared_key(anchor) or features.parts[anchor].keys[0]
    chosen: dict[str, Any] = {"anchor": anchor, "anchor_key": key}
    towers = {anchor: _anchor_tower(features, anchor, key)}
    inner: dict[str, float] = {}
    for name in others:
        side = _side(features, name, anchor)
        best, scores = _choose(features, side, anchor, key, wanted, folds, run)
        rows = np.union1d(features.train, features.val)
        ours, theirs = _build(features, side, anchor, key, best, rows, run.seed)
        towers[name] = ours
        if theirs is not None:
            towers[anchor] = theirs
        chosen[name] = {**best.told(), "keys": list(side.keys), "bridge": side.bridge}
        chosen[name]["tried"] = scores
        inner[name] = max(scores.values())
        run.message(f"{name}: {_phrase(best, side)}, inner folds {inner[name]:.3f}")
    val = score_towers(features, towers, features.val) if len(features.val) else {}
    best_variants = dict.fromkeys(str(chosen[name]["variant"]) for name in others)
    chosen = {"variant": "+".join(best_variants), **chosen}
    return Fitted(
        {"both": towers},
        {**chosen, "inner_folds": float(np.mean(list(inner.values())))},
        val=val,
        val_source="rows that the map was fitted on too; the choice was made on inner folds",
    )


def _anchor(features: Features, options: AlignOptions) -> str:
    if options.anchor is not None:
        if options.anchor not in features.modalities:
            raise UsageError(
                f"`--anchor {options.anchor}` is not aligned",
                "one of " + ", ".join(features.modalities),
            )
        return options.anchor
    return "text" if "text" in features.modalities else features.modalities[0]


def _side(features: Features, name: str, anchor: str) -> _Side:
    part = features.parts[name]
    spaces = set(features.parts[anchor].spaces.values()) - {""}
    bridge = next((key for key in part.keys if part.spaces[key] in spaces), None)
    keys = tuple(key for key in part.keys if key != bridge) or part.keys
    sample = part.take(subset(features.rows_with(features.train, name), 1000, 0), keys)
    positive = all(float(v.min(initial=0)) >= 0 for v in sample.values())
    return _Side(part, keys, ("sqrt", "unit") if positive else ("unit",), bridge)


def _anchor_tower(features: Features, anchor: str, key: str) -> Tower:
    return Tower((Branch((key,), "identity"),), features.parts[anchor].dim(key))


def _settings(variant: str) -> Iterator[Setting]:
    """Every setting of a variant but its weight; those that share a decomposition in a row."""
    if variant == "ridge":
        yield from (Setting("ridge", penalty) for penalty in PENALTIES)
    elif variant == "kernel":
        yield from (Setting("kernel", p, width) for width in WIDTHS for p in PENALTIES)
    elif variant == "procrustes":
        yield Setting("procrustes")
    else:
        yield from (Setting("cca", penalty) for penalty in CCA_PENALTIES)


def _choose(
    features: Features,
    side: _Side,
    anchor: str,
    key: str,
    variants: tuple[str, ...],
    folds: list[tuple[Rows, Rows]],
    run: FitRun,
) -> tuple[Setting, dict[str, float]]:
    """The setting with the best hit@k on the inner folds, and the best score of each variant."""
    totals: dict[Setting, list[float]] = {}
    weights: list[int] = []
    for fitted, held in folds:
        fitted = features.rows_with(fitted, side.part.name, anchor)
        held = features.rows_with(subset(held, MOST_HELD, run.seed), side.part.name, anchor)
        if len(fitted) < 2 or not len(held):
            continue
        weights.append(len(held))
        y = unit(features.parts[anchor].take(held, (key,))[key])
        x, base = side.x(held), side.base(held)
        same = features.groups[held][:, None] == features.groups[held][None]
        for variant in variants:
            settings = list(_settings(variant))
            maps = _solve(features, side, anchor, key, settings, fitted, run.seed)
            for setting, (ours, theirs) in zip(settings, maps, strict=True):
                target = y if theirs is None else unit(_f32(theirs(y)))
                for weight, scores in _scores(base, unit(_f32(ours(x))), y, target, theirs):
                    score = (hits(scores, same) + hits(scores.T, same)) / 2
                    totals.setdefault(replace(setting, weight=weight), []).append(score)
    if not totals:
        raise BadInput(
            f"too few rows with {side.part.name} and {anchor} to choose a map", "give more pairs"
        )
    means = {s: float(np.average(scores, weights=weights)) for s, scores in totals.items()}
    best = max(means, key=lambda setting: means[setting])
    tried = {v: max(m for s, m in means.items() if s.variant == v) for v in variants}
    return best, tried


def _scores(
    base: Vectors | None, mapped: Vectors, anchor: Vectors, target: Vectors, theirs: Map | None
) -> Iterator[tuple[float, Vectors]]:
    """For each weight the cosines `(anchor rows, modality rows)` of the finished towers."""
    by_map = target @ mapped.T
    if base is None:
        yield 1.0, by_map
        return
    by_bridge = anchor @ base.T
    overlap = (base * mapped).sum(1) if theirs is None else np.zeros(len(base), np.float32)
    for weight in WEIGHTS:
        # CCA's coordinates stand beside the bridge's on both sides, so its weight counts twice
        added = by_map * np.float32(weight if theirs is None else weight * weight)
        length = np.sqrt(1 + weight * weight + 2 * weight * overlap)
        yield weight, (by_bridge + added) / length[None]


def hits(scores: Vectors, same: NDArray[np.bool_]) -> float:
    """Mean of hit@k over `KS`; scores, same: `(queries, targets)`. Ties count against."""
    best = np.where(same, scores, -np.inf).max(axis=1)
    rank = ((scores >= best[:, None]) & ~same).sum(axis=1)
    return float(np.mean([(rank < k).mean() for k in KS]))


def _solve(
    features: Features,
    side: _Side,
    anchor: str,
    key: str,
    settings: list[Setting],
    rows: Rows,
    seed: int,
) -> list[tuple[Map, Map | None]]:
    """The maps of settings of one variant, fitted on rows that have both modalities."""
    rows = subset(rows, MOST_ROWS, seed)
    x, y = side.x(rows), unit(features.parts[anchor].take(rows, (key,))[key])
    variant = settings[0].variant
    if variant == "procrustes":
        return [(procrustes(x, y), None)]
    if variant == "cca":
        return [*cca(x, y, [s.penalty for s in settings], min(CCA_DIM, max(1, len(x) // 4)))]
    if variant == "ridge":
        return [(found, None) for found in ridge(x, y, [s.penalty for s in settings])]
    chosen = subset(np.arange(len(x)), MOST_LANDMARKS, seed)
    maps: list[tuple[Map, Map | None]] = []
    for width in dict.fromkeys(s.width for s in settings):
        penalties = [s.penalty for s in settings if s.width == width]
        maps += [(m, None) for m in kernel_ridge(x, y, penalties, width, x[chosen])]
    return maps


def _build(
    features: Features, side: _Side, anchor: str, key: str, best: Setting, rows: Rows, seed: int
) -> tuple[Tower, Tower | None]:
    """The modality's tower, and for CCA the anchor's."""
    both = features.rows_with(rows, side.part.name, anchor)
    ((ours, theirs),) = _solve(features, side, anchor, key, [best], both, seed)
    width = features.parts[anchor].dim(key)
    kernel = ours.landmarks is not None
    branch = Branch(
        side.keys,
        "kernel" if kernel else "linear",
        side.prepare,
        unit_output=True,
        weight=best.weight if side.bridge else 1.0,
        gamma=ours.gamma,
        layers=0 if kernel else 1,
    )
    if theirs is None:
        branches: tuple[Branch, ...] = (branch,)
        if side.bridge is not None:
            branches = (Branch((side.bridge,), "identity", unit_output=True), branch)
        arrays = _arrays(len(branches) - 1, ours)
        return Tower(branches, width, arrays=arrays), None
    return (
        _side_by_side(side.bridge, branch, ours, width),
        _side_by_side(
            key if side.bridge else None,
            replace(branch, keys=(key,), prepare=("unit",)),
            theirs,
            width,
        ),
    )


def _side_by_side(bridge: str | None, branch: Branch, found: Map, width: int) -> Tower:
    """The bridge's coordinates, then those of the map: each branch leaves the other's at zero."""
    if bridge is None:
        return Tower((branch,), found.weight.shape[1], arrays=_arrays(0, found))
    extra = found.weight.shape[1]
    first = Map(np.eye(width, width + extra), np.zeros(width + extra))
    second = Map(
        np.pad(found.weight, ((0, 0), (width, 0))), np.pad(found.bias, (width, 0)), None, 0.0
    )
    own = Branch((bridge,), "linear", unit_output=True, layers=1)
    arrays = {**_arrays(0, first), **_arrays(1, second)}
    return Tower((own, branch), width + extra, arrays=arrays)


def _arrays(number: int, found: Map) -> dict[str, Vectors]:
    arrays = {f"{number}.weight0": _f32(found.weight), f"{number}.bias0": _f32(found.bias)}
    if found.landmarks is not None:
        arrays[f"{number}.landmarks"] = _f32(found.landmarks)
    return arrays


def _f32(values: Any) -> Vectors:
    return np.ascontiguousarray(values, dtype=np.float32)


def _phrase(setting: Setting, side: _Side) -> str:
    told = ", ".join(f"{k} {v:g}" for k, v in setting.told().items() if k != "variant")
    added = f" added to `{side.bridge}`" if side.bridge else ""
    return f"{setting.variant} of {' + '.join(side.keys)}{added} ({told})"
