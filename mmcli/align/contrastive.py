"""Contrastive alignment: a tower for each modality, matched rows together, all others apart.

Loss of a pair of modalities: symmetric InfoNCE with a learned, clamped temperature (Radford et al.
2021, arXiv 2103.00020), or the sigmoid loss (Zhai et al. 2023, arXiv 2303.15343); of three and
more, the mean over pairs, each over the rows that have both. Hard negatives are rows whose vectors
lie nearest to the other modality's of an anchor row: they join its batch (ANCE, Xiong et al. 2021,
arXiv 2007.00808, with the mining done anew each epoch).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmcli.align import losses
from mmcli.align.features import Features, Rows, subset
from mmcli.align.fitting import AlignOptions, FitRun, Fitted
from mmcli.align.scoring import score_towers, summary
from mmcli.align.steps import (
    Schedule,
    lasting,
    parts_of,
    run_steps,
    steps_of,
    told,
    train_options,
    usual_batch,
)
from mmcli.align.torch_tower import TorchTower, torch
from mmcli.align.towers_to_train import starting_towers
from mmcli.core.errors import UsageError
from mmcli.engine.autocast import autocast
from mmcli.engine.exact_top import iter_best

VARIANTS = ("infonce", "sigmoid")
#: Start of the sigmoid loss, from its paper: scale and bias that make the first loss small.
SIGMOID_SCALE, SIGMOID_BIAS = 10.0, -10.0
#: Rows among which hard negatives are looked for; beyond, a sample of them.
MINED_ROWS = 100_000
#: Candidates of which the positives are struck out.
MINED_DEPTH = 16


@dataclass(frozen=True)
class Defaults:
    """What is chosen for so many rows, where the user says nothing."""

    schedule: Schedule
    batch: int
    hidden: int
    dropout: float
    tower: str

    @classmethod
    def of(cls, rows: int) -> "Defaults":
        """Small data: many short epochs, few parameters, averaged weights; large: the opposite."""
        if rows < 5_000:
            batch = usual_batch(rows, 4, 256)
            return cls(Schedule(40, 1e-3, 0.1, 15, 0.95), batch, 512, 0.3, "linear")
        if rows < 100_000:
            batch = usual_batch(rows, 16, 1024)
            return cls(Schedule(20, 1e-3, 0.02, 4, 0.99), batch, 1024, 0.2, "mlp")
        batch = usual_batch(rows, 64, 8192)
        return cls(Schedule(5, 1e-3, 0.01, 2, 0.0), batch, 1024, 0.1, "mlp")


class Contrastive:
    """What the training loop is given: towers, batches, loss, score."""

    def __init__(self, features: Features, options: AlignOptions, run: FitRun) -> None:
        self.features, self.run = features, run
        self.variant = options.variant or VARIANTS[0]
        if self.variant not in VARIANTS:
            raise UsageError(f"`contrastive:{self.variant}` is unknown", "infonce or sigmoid")
        paired = [features.rows_with(features.train, a, b) for a, b in features.pairs()]
        self.rows: Rows = np.unique(np.concatenate(paired))
        known = Defaults.of(len(self.rows))
        self.batch = min(options.batch or known.batch, len(self.rows))
        self.hidden = options.hidden or known.hidden
        self.tower = known.tower if options.tower == "auto" else options.tower
        self.dropout = known.dropout if options.dropout is None else options.dropout
        self.hard, self.chunk = options.hard_negatives, options.chunk
        self.whole_epochs = self.hard > 0  # they are mined by the model that begins the epoch
        self.grouped = len(np.unique(features.groups[self.rows])) < len(self.rows)
        towers, trained = starting_towers(
            features, kind=self.tower, dim=options.dim, hidden=self.hidden, seed=run.seed
        )
        self.model = _Model(towers, trained, self.dropout, self.variant, options.temperature)
        self.plain = frozenset({"log_scale", "bias"})
        # with hard negatives a batch holds fewer anchors, and as many rows
        self.anchors = max(1, self.batch // (1 + self.hard))
        self.steps = steps_of(len(self.rows), self.anchors)
        self.train_options = train_options(lasting(known.schedule, self.steps), options, run)

    # -- batches -------------------------------------------------------------------------------

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """Batches of an epoch, read one ahead of the step; the order depends on seed and epoch."""
        order = np.random.default_rng((self.run.seed, epoch)).permutation(self.rows)
        mined = self._mine(epoch) if self.hard else None
        chosen = (self._with_hard(rows, mined) for rows in parts_of(order, self.steps, start))
        yield from ahead(self._read, chosen)

    def _read(self, rows: Rows) -> dict[str, Any]:
        """Vectors of the rows that have each modality, in the type that products are taken in."""
        rows = np.sort(rows)  # neighbours in the file are read together
        dtype = getattr(torch, self.run.dtype)
        found: dict[str, Any] = {"groups": self._tensor(self.features.groups[rows])}
        for name, part in self.features.parts.items():
            here = part.present[rows]
            vectors = part.take(rows[here])
            found[name] = {k: self._tensor(v).to(dtype) for k, v in vectors.items()}
            found[f"has {name}"] = None if here.all() else self._tensor(here)
        return found

    def _tensor(self, array: Any) -> Any:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.run.device)

    def _mine(self, epoch: int) -> dict[int, Rows]:
        """For each row the `hard` rows whose other modality lies nearest and is no positive.

        Of every modality to the next in turn; the first epoch mines in the starting space.
        """
        rows = subset(self.rows, MINED_ROWS, self.run.seed + epoch)
        self.model.eval()
        towers = self.model.finished()
        names, groups = self.features.modalities, self.features.groups
        found: dict[int, Rows] = {}
        nothing = np.zeros(0, np.int64)
        for name, other in zip(names, (*names[1:], names[0]), strict=True):
            here = self.features.rows_with(rows, name)
            there = self.features.rows_with(rows, other)
            queries = towers[name].apply(self.features.parts[name].take(here))
            targets = towers[other].apply(self.features.parts[other].take(there))
            depth = min(len(there), MINED_DEPTH + self.hard)
            for best in iter_best(queries, targets, depth, device=self.run.device):
                rows_here = here[best.start : best.start + len(best.index)]
                for row, candidates in zip(rows_here.tolist(), there[best.index], strict=True):
                    wrong = candidates[groups[candidates] != groups[row]][: self.hard]
                    found[row] = np.concatenate([found.get(row, nothing), wrong])[: self.hard]
        self.model.train()
        return found

    def _with_hard(self, anchors: Rows, mined: Mapping[int, Rows] | None) -> Rows:
        if mined is None:
            return anchors
        nothing = np.zeros(0, np.int64)
        extra = [mined.get(row, nothing) for row in anchors.tolist()]
        return np.unique(np.concatenate([anchors, *extra]))

    # -- learning ------------------------------------------------------------------------------

    def step(self, batch: dict[str, Any], backward: Callable[[Any], None]) -> dict[str, float]:
        """The mean loss over pairs of modalities, and its gradient."""
        with autocast(self.run.device, self.run.dtype):
            vectors = {name: self.model(name, batch[name]) for name in self.features.modalities}
            pairs = [self._pair(batch, vectors, a, b) for a, b in self.features.pairs()]
            kept = [loss for loss in pairs if loss is not None]
            loss = torch.stack(kept).mean()
        backward(loss)
        return {"loss": float(loss.detach())}

    def _pair(self, batch: dict[str, Any], vectors: dict[str, Any], a: str, b: str) -> Any:
        """The loss of the rows that have both; None when fewer than two do."""
        x, y = vectors[a], vectors[b]
        groups = batch["groups"] if self.grouped else None
        has_a, has_b = batch[f"has {a}"], batch[f"has {b}"]
        if has_a is not None or has_b is not None:
            everything = torch.ones_like(batch["groups"], dtype=torch.bool)
            has_a = everything if has_a is None else has_a
            has_b = everything if has_b is None else has_b
            both = has_a & has_b
            x, y = x[both[has_a]], y[both[has_b]]
            groups = groups[both] if groups is not None else None
        if len(x) < 2:
            return None
        scale = self.model.scale()
        if self.variant == "sigmoid":
            return losses.sigmoid_loss(x, y, scale, self.model.bias, groups, self.chunk)
        return losses.info_nce(x, y, scale, groups, self.chunk)

    def score(self) -> float:
        """Mean hit@k of the validation rows; NaN when there are none."""
        if not len(self.features.val):
            return float("nan")
        return summary(score_towers(self.features, self.model.finished(), self.features.val))

    def chosen(self) -> dict[str, Any]:
        """The settings of this run, for the record."""
        return {
            "variant": self.variant,
            "batch": self.batch,
            "tower": self.tower,
            **({"hidden": self.hidden} if self.tower == "mlp" else {}),
            "dropout": self.dropout,
            "hard_negatives": self.hard,
            "scale": float(self.model.scale().detach()),
        }


class _Model(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A tower for each modality, the inverse temperature, and the bias of the sigmoid loss."""

    def __init__(
        self,
        towers: Mapping[str, Any],
        trained: Mapping[str, frozenset[int]],
        dropout: float,
        variant: str,
        temperature: float,
    ) -> None:
        super().__init__()
        self.towers = torch.nn.ModuleDict(
            {name: TorchTower(tower, trained[name], dropout) for name, tower in towers.items()}
        )
        start = SIGMOID_SCALE if variant == "sigmoid" else 1 / temperature
        self.log_scale = torch.nn.Parameter(torch.tensor(float(np.log(start))))
        self.bias = torch.nn.Parameter(torch.tensor(SIGMOID_BIAS))
        self.bias.requires_grad_(variant == "sigmoid")

    def forward(self, name: str, inputs: Mapping[str, Any]) -> Any:
        return self.towers[name](inputs)

    def scale(self) -> Any:
        """The inverse temperature, at most 100."""
        return self.log_scale.exp().clamp(max=losses.MOST_SCALE)

    def finished(self) -> dict[str, Any]:
        return {name: tower.finished() for name, tower in self.towers.items()}


def fit(features: Features, options: AlignOptions, run: FitRun) -> Fitted:
    """Train the towers; keep those of the epoch with the best validation hit@k."""
    torch.manual_seed(run.seed)
    method = Contrastive(features, options, run)
    done = run_steps(method, run)
    towers = method.model.finished()
    val = score_towers(features, towers, features.val) if len(features.val) else {}
    chosen = {**method.chosen(), **told(method.train_options, done)}
    return Fitted({"both": towers}, chosen, history=done.history, val=val)


def ahead(function: Callable[[Any], Any], values: Iterator[Any]) -> Iterator[Any]:
    """The function of each value, computed in a thread while the one before is in use."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="mmcli-read") as reader:
        waiting = None
        for value in values:
            following = reader.submit(function, value)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
