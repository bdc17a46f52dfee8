"""Dual learning: two mappings between modalities that undo each other, from pairs and without.

f maps a into the space where b lives and g maps b into that of a (each modality's own prepared
vectors). With pairs (a, b), and a and b without partners, the loss is

    sup:   -log p(b | f(a)) - log p(a | g(b))     among the rows of the batch, and 2 - cos - cos
    cycle: 2 - cos(g(f(a)), a) - cos(f(g(b)), b)  of every row, with a partner or not
    match: MMD(f(A), B) + MMD(g(B), A)            of whole batches (or moments, or transport)

after He et al. 2016, arXiv 1611.00179, where two translators teach each other from monolingual
text; here closed cycles and matched distributions stand for their language models. Both mappings
together give the common space [a-space | b-space]; either can be applied alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmcli.align import losses
from mmcli.align.contrastive import ahead
from mmcli.align.distributions import mmd, moments, transport
from mmcli.align.features import Features, Part, Rows
from mmcli.align.fitting import AlignOptions, FitRun, Fitted
from mmcli.align.scoring import score_towers, summary
from mmcli.align.steps import (
    Schedule,
    lasting,
    run_steps,
    steps_of,
    told,
    train_options,
    usual_batch,
)
from mmcli.align.torch_tower import TorchTower, torch, unit
from mmcli.align.tower import Branch, Tower, branch_input
from mmcli.align.towers_to_train import mapping_tower, preparation
from mmcli.core.errors import UsageError
from mmcli.engine.autocast import autocast

MATCHING = {"mmd": mmd, "moments": moments}
#: Inverse temperature of p(b | f(a)): fixed, since only the order of the cosines matters.
SCALE = 20.0


@dataclass(frozen=True)
class _Own:
    """The space of a modality's own vectors: its keys side by side, each of unit length."""

    part: Part
    prepare: tuple[str, ...]

    @property
    def dim(self) -> int:
        return sum(self.part.dim(key) for key in self.part.keys)

    def branch(self) -> Branch:
        return Branch(self.part.keys, "identity", self.prepare)

    def vectors(self, part: Part, rows: Rows) -> Any:
        """Unit vectors `(rows, dim)`; `part` may be of another store with the same keys."""
        x = branch_input(self.branch(), part.take(rows, self.part.keys))
        return torch.from_numpy(np.ascontiguousarray(x)) / len(self.part.keys) ** 0.5

    def by_key(self, x: Any) -> dict[str, Any]:
        """Prepared vectors of each key, as a tower reads them, of unit vectors `(rows, dim)`."""
        parts = x.split([self.part.dim(key) for key in self.part.keys], dim=1)
        return dict(zip(self.part.keys, [p * len(parts) ** 0.5 for p in parts], strict=True))


class Dual:
    """What the training loop is given."""

    whole_epochs = False

    def __init__(self, features: Features, options: AlignOptions, run: FitRun) -> None:
        if len(features.modalities) != 2:
            raise UsageError("`dual` aligns two modalities", "use contrastive for more")
        variant = options.variant or "mmd"
        if variant not in (*MATCHING, "transport"):
            raise UsageError(f"`dual:{variant}` is unknown", "mmd, moments or transport")
        self.features, self.run, self.variant = features, run, variant
        a, b = features.modalities
        self.names = (a, b)
        self.rows = features.rows_with(features.train, a, b)
        self.own = {n: _Own(p, preparation(p, p.keys, self._of(n))) for n, p in self._parts()}
        self.loose = {name: self._loose(name) for name in self.names}
        self.grouped = len(np.unique(features.groups[self.rows])) < len(self.rows)
        most = max([len(self.rows), *(self._count(name) for name in self.names)])
        usual = usual_batch(most, 4, 256) if most < 100_000 else 2048
        self.batch = min(options.batch or usual, max(2, most))
        self.steps = steps_of(most, self.batch)
        self.cycle = 0.3 if options.cycle_weight is None else options.cycle_weight
        self.match = 0.3 if options.match_weight is None else options.match_weight
        self.tower = "linear" if options.tower == "auto" else options.tower
        self.hidden = options.hidden or 512
        self.dropout = 0.3 if options.dropout is None else options.dropout
        self.model = _Model(self)
        self.plain: frozenset[str] = frozenset()
        epochs = max(20, min(60, 600 // self.steps))
        schedule = lasting(Schedule(epochs, 1e-3, 0.1, 15, 0.95), self.steps)
        self.train_options = train_options(schedule, options, run)

    def _parts(self) -> list[tuple[str, Part]]:
        return [(name, self.features.parts[name]) for name in self.names]

    def _of(self, name: str) -> Rows:
        return self.features.rows_with(self.features.train, name)

    def _loose(self, name: str) -> list[tuple[Part, Rows]]:
        """Rows without a partner: those handed over, and train rows that lack the other part."""
        part = self.features.parts[name]
        lonely = np.setdiff1d(self._of(name), self.rows)
        found = [*(self.features.unpaired or {}).get(name, ()), (part, lonely)]
        return [(part, rows) for part, rows in found if len(rows)]

    def _count(self, name: str) -> int:
        return sum(len(rows) for _, rows in self.loose[name])

    # -- batches -------------------------------------------------------------------------------

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """Pairs, and rows of each modality without partners; drawn by seed, epoch and number."""
        yield from ahead(self._read, iter([(epoch, i) for i in range(start, self.steps)]))

    def _read(self, place: tuple[int, int]) -> dict[str, Any]:
        random = np.random.default_rng((self.run.seed, *place))
        pairs = random.choice(self.rows, min(self.batch, len(self.rows)), replace=False)
        found: dict[str, Any] = {"groups": torch.from_numpy(self.features.groups[pairs])}
        for name, part in self._parts():
            own = self.own[name]
            vectors = [own.vectors(part, pairs)]
            sizes = np.array([len(rows) for _, rows in self.loose[name]], float)
            shares = np.floor(self.batch * sizes / max(1.0, sizes.sum())).astype(int)
            for (loose, rows), share in zip(self.loose[name], shares, strict=True):
                chosen = random.choice(rows, min(int(share), len(rows)), replace=False)
                vectors.append(own.vectors(loose, chosen))
            found[name] = torch.cat(vectors).to(self.run.device)
        found["groups"] = found["groups"].to(self.run.device)
        return found

    # -- learning ------------------------------------------------------------------------------

    def step(self, batch: dict[str, Any], backward: Callable[[Any], None]) -> dict[str, float]:
        """The three terms, each in both directions."""
        with autocast(self.run.device, self.run.dtype):
            a, b = (batch[name] for name in self.names)
            f, g = (self.model.mapped(n, batch[n]) for n in self.names)
            there_a, there_b = (
                self.model.mapped(self.names[1], f),
                self.model.mapped(self.names[0], g),
            )
        n = len(batch["groups"])
        groups = batch["groups"] if self.grouped else None
        scale = torch.tensor(SCALE, device=a.device)
        sup = losses.info_nce(f[:n], b[:n], scale, groups)
        sup = sup + losses.info_nce(g[:n], a[:n], scale, groups)
        sup = sup + 2 - (f[:n] * b[:n]).sum(1).mean() - (g[:n] * a[:n]).sum(1).mean()
        cycle = 2 - (there_a * a).sum(1).mean() - (there_b * b).sum(1).mean()
        match = self._match(a, b, f, g, n)
        loss = sup + self.cycle * cycle + self.match * match
        backward(loss)
        terms = {"loss": loss, "supervised": sup, "cycle": cycle, "match": match}
        return {name: float(value.detach()) for name, value in terms.items()}

    def _match(self, a: Any, b: Any, f: Any, g: Any, n: int) -> Any:
        """How far the mapped rows lie from where the other modality lives."""
        if self.variant != "transport":
            return MATCHING[self.variant](f, b) + MATCHING[self.variant](g, a)
        f, g, a, b = f[n:], g[n:], a[n:], b[n:]
        if len(a) < 2 or len(b) < 2:
            return f.new_zeros(())
        by_f, by_g = f @ b.T, a @ g.T
        with torch.no_grad():
            plan = transport((by_f + by_g) / 2)
        total = f.new_zeros(())
        for scores in (by_f, by_g):
            total = total - (plan * (SCALE * scores).log_softmax(1)).sum() / len(a) / 2
            back = plan / plan.sum(0, keepdim=True).clamp_min(1e-9)
            total = total - (back * (SCALE * scores).log_softmax(0)).sum() / len(b) / 2
        return total

    def score(self) -> float:
        """Mean hit@k of the validation rows in the common space."""
        if not len(self.features.val):
            return float("nan")
        return summary(score_towers(self.features, self.directions()["both"], self.features.val))

    def directions(self) -> dict[str, dict[str, Tower]]:
        """Both mappings in one space, and each alone."""
        a, b = self.names
        f, g = self.model.finished(a), self.model.finished(b)
        stay = {name: Tower((own.branch(),), own.dim) for name, own in self.own.items()}
        width_a, width_b = self.own[a].dim, self.own[b].dim
        return {
            "both": {
                a: _side_by_side(stay[a], f, 0, width_a, width_a + width_b),
                b: _side_by_side(stay[b], g, width_a, 0, width_a + width_b),
            },
            f"{a}-to-{b}": {a: f, b: stay[b]},
            f"{b}-to-{a}": {a: stay[a], b: g},
        }

    def chosen(self) -> dict[str, Any]:
        """The settings of this run, for the record."""
        return {
            "variant": self.variant,
            "batch": self.batch,
            "tower": self.tower,
            "dropout": self.dropout,
            "cycle_weight": self.cycle,
            "match_weight": self.match,
            "pairs": len(self.rows),
            "unpaired": {name: self._count(name) for name in self.names},
        }


class _Model(torch.nn.Module):  # type: ignore[misc,name-defined]
    """f and g, as towers that are named for the modality they read."""

    def __init__(self, method: Dual) -> None:
        super().__init__()
        self.own = method.own
        self.towers = torch.nn.ModuleDict()
        for name, other in (method.names, method.names[::-1]):
            tower = mapping_tower(
                method.features.parts[name],
                method._of(name),
                method.own[other].dim,
                prepare=method.own[name].prepare,
                bridge=_bridge(method.features.parts[name], method.own[other]),
                kind=method.tower,
                hidden=method.hidden,
                seed=method.run.seed,
            )
            last = frozenset({len(tower.branches) - 1})
            self.towers[name] = TorchTower(tower, last, method.dropout)

    def mapped(self, name: str, x: Any) -> Any:
        """Unit vectors in the other modality's space, of unit vectors in the modality's own."""
        return unit(self.towers[name](self.own[name].by_key(x), prepared=True))

    def finished(self, name: str) -> Tower:
        found: Tower = self.towers[name].finished()
        return found


def fit(features: Features, options: AlignOptions, run: FitRun) -> Fitted:
    """Train both mappings; keep those of the epoch with the best validation hit@k."""
    torch.manual_seed(run.seed)
    method = Dual(features, options, run)
    done = run_steps(method, run)
    directions = method.directions()
    val = score_towers(features, directions["both"], features.val) if len(features.val) else {}
    chosen = {**method.chosen(), **told(method.train_options, done)}
    return Fitted(directions, chosen, history=done.history, val=val)


def _bridge(part: Part, other: _Own) -> tuple[str, int] | None:
    """A key that lives in the space of one of the other's keys, and where that one begins."""
    at = 0
    for theirs in other.part.keys:
        for key in part.keys:
            space = part.spaces[key]
            if space and space == other.part.spaces[theirs]:
                return key, at
        at += other.part.dim(theirs)
    return None


def _side_by_side(stay: Tower, mapping: Tower, at_stay: int, at_map: int, width: int) -> Tower:
    """A modality's own vectors and its mapped ones, each in its place of the common space.

    Both have unit length there, so that a cosine is the mean of those of the two spaces.
    """
    eye = np.eye(stay.dim, dtype=np.float32)
    arrays = {"0.weight0": _placed(eye, at_stay, width), "0.bias0": np.zeros(width, np.float32)}
    own = replace(stay.branches[0], body="linear", layers=1, unit_output=True)
    # the mapping's branches are added before they are brought to unit length, so they share a sum
    branches = [own]
    for number, branch in enumerate(mapping.branches):
        branches.append(replace(branch, group=1))
        for name, array in mapping.arrays.items():
            mine, _, parameter = name.partition(".")
            if int(mine) != number:
                continue
            last = parameter in (f"weight{branch.layers - 1}", f"bias{branch.layers - 1}")
            placed = _placed(array, at_map, width) if last else array
            arrays[f"{number + 1}.{parameter}"] = placed
    return Tower(tuple(branches), width, arrays=arrays)


def _placed(array: Any, at: int, width: int) -> Any:
    """The last axis in its place among `width` coordinates, zeros elsewhere."""
    before = [(0, 0)] * (array.ndim - 1)
    return np.pad(array, [*before, (at, width - at - array.shape[-1])])
