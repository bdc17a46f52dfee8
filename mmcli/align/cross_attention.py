"""Cross-attention over tokens, patches and frames: learns whether a pair belongs together.

Two losses of a batch (Li et al. 2021, arXiv 2107.07651):

- contrastive: symmetric InfoNCE over every pair of the batch of `late`, the similarity of projected
  tokens (Yao et al. 2021, arXiv 2111.07783);
- matching: for each row a wrong partner on either side is drawn from the batch with probability
  softmax(s · late), so that the hardest come most often; log(1 + exp(score(wrong) - score(right))),
  their order being all that a re-ranker needs (the paper: a cross entropy of each pair by itself).

A batch is made of rows and of their nearest neighbours in the pooled vectors of either modality,
which is what a retriever of pooled vectors confuses (ANCE, Xiong et al. 2021, arXiv 2007.00808):
they are there to be drawn. The model is in `pair_model.py`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.align.contrastive import ahead
from mmcli.align.features import Features, Part, Rows, Vectors, statistics, subset
from mmcli.align.fitting import AlignOptions, FitRun, Fitted
from mmcli.align.pair_model import PairModel, PairShape, Side, functional, set_statistics, torch
from mmcli.align.pair_scores import Placed, reranked_hits
from mmcli.align.scoring import KS, Scores
from mmcli.align.steps import Schedule, lasting, parts_of, run_steps, steps_of, told, train_options
from mmcli.core.errors import UsageError
from mmcli.engine.exact_top import iter_best
from mmcli.engine.sequences import LONGEST, grid_side, shortened
from mmcli.engine.standard_scale import standard_scale
from mmcli.store.mapped_sequences import MappedSequences

#: Rows whose tokens give lengths, mean and deviation.
SAMPLE_ROWS = 512
#: Rows among which neighbours are looked for, drawn anew each epoch.
MINED_ROWS = 8192
#: Neighbours of each modality that a row may be put beside.
MINED_DEPTH = 4
#: Rows that are scored while training, and their best targets that are put in order.
SCORED_ROWS, SCORED_DEPTH = 1000, 4
#: Parameters that say where a token is: not decayed.
_PLACES = (".row", ".column", ".place")
#: Where the user says nothing: width of the layers, of projected tokens; rows in a batch; dropout.
WIDTH, DIM, BATCH, DROPOUT = 64, 64, 32, 0.1


def schedule_of(rows: int) -> Schedule:
    """What is chosen for so many rows, where the user says nothing."""
    if rows < 10_000:
        return Schedule(epochs=8, lr=2e-3, weight_decay=0.05, patience=4, ema=0.0)
    return Schedule(epochs=4, lr=1e-3, weight_decay=0.02, patience=2, ema=0.0)


class CrossAttention:
    """What the training loop is given: model, batches, losses, score."""

    whole_epochs = False

    def __init__(self, features: Features, options: AlignOptions, run: FitRun) -> None:
        if len(features.modalities) != 2:
            raise UsageError(
                f"cross-attention between {len(features.modalities)} modalities",
                "it scores pairs: name two, and train one aligner for each pair",
            )
        self.features, self.run = features, run
        self.names = features.modalities
        self.parts = tuple(features.parts.values())
        assert features.store is not None, "sequences are read from the store"
        self.maps = [MappedSequences(features.store, part.keys[0]) for part in self.parts]
        self.rows: Rows = features.rows_with(features.train, *self.names)
        self.batch = min(options.batch or BATCH, len(self.rows))
        self.steps = steps_of(len(self.rows), self.batch)
        self.beside = options.hard_negatives or 1
        self.near: Rows | None = None
        self.dropout = DROPOUT if options.dropout is None else options.dropout
        sides, statistics = zip(*(self._side(i) for i in range(2)), strict=True)
        shape = PairShape(
            sides, options.hidden or WIDTH, options.dim or DIM, options.layers, options.heads
        )
        if shape.width % shape.heads:
            raise UsageError(
                f"`--heads {shape.heads}` do not divide a width of {shape.width}",
                "change `--heads` or `--hidden`",
            )
        self.model = PairModel(shape, self.dropout, options.temperature)
        set_statistics(self.model, statistics)
        named = (name for name, _ in self.model.named_parameters())
        self.plain = frozenset(name for name in named if name.endswith(_PLACES))
        schedule = lasting(schedule_of(len(self.rows)), self.steps)
        self.train_options = train_options(schedule, options, run)

    def _side(self, number: int) -> tuple[Side, tuple[Vectors, Vectors]]:
        """One modality, and the mean and scale of its tokens, from some of the train rows."""
        part, key = self.parts[number], self.parts[number].keys[0]
        sample = self.maps[number].take(subset(self.rows, SAMPLE_ROWS, self.run.seed))
        grid = grid_side([len(tokens) for tokens in sample])
        sequences = [shortened(tokens, bool(grid)) for tokens in sample]
        width = sequences[0].shape[1]
        # some rows beyond the sample may be longer; their last tokens share a place
        length = min(LONGEST, max(len(tokens) for tokens in sequences))
        side = Side(part.name, key, width, length, grid_side([length]) if grid else 0)
        return side, standard_scale(np.concatenate(sequences))

    @property
    def placed(self) -> Placed:
        return Placed(self.model, self.run.device, self.run.dtype)

    # -- batches -------------------------------------------------------------------------------

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """Batches of an epoch, read one ahead; the order depends on seed and epoch alone."""
        order = self._order(epoch)
        yield from ahead(self._read, parts_of(order, self.steps, start))

    def _order(self, epoch: int) -> Rows:
        """Every row once, in random order, with neighbours behind each other.

        Beyond `MINED_ROWS` the rows are parted anew each epoch, and neighbours are of one part.
        """
        random = np.random.default_rng((self.run.seed, epoch))
        if len(self.rows) <= MINED_ROWS:
            if self.near is None:
                self.near = self._near(self.rows)
            order = random.permutation(len(self.rows))
            return self.rows[beside_each_other(self.near, self.beside, order)]
        drawn = random.permutation(self.rows)
        blocks = [drawn[i : i + MINED_ROWS] for i in range(0, len(drawn), MINED_ROWS)]
        orders = [
            beside_each_other(self._near(block), self.beside, np.arange(len(block)))
            for block in blocks
        ]
        return np.concatenate([b[order] for b, order in zip(blocks, orders, strict=True)])

    def _near(self, rows: Rows) -> Rows:
        """`(rows, candidates)` places of each row's neighbours, of each modality in turn."""
        found = []
        own = np.arange(len(rows), dtype=np.int64)
        for part in self.parts:
            vectors = _standardised(part, rows, self.run.seed)
            best = iter_best(vectors, vectors, MINED_DEPTH, own=own, device=self.run.device)
            found.append(np.concatenate([block.index for block in best]))
        return np.stack(found, axis=2).reshape(len(rows), -1)

    def _read(self, rows: Rows) -> dict[str, Any]:
        groups = torch.from_numpy(self.features.groups[rows]).to(self.run.device)
        taken = [m.take(rows) for m in self.maps]
        return {"groups": groups, "sides": [self.placed.tensors(i, taken[i]) for i in range(2)]}

    # -- learning ------------------------------------------------------------------------------

    def step(self, batch: dict[str, Any], backward: Callable[[Any], None]) -> dict[str, float]:
        """Both losses, and the gradient of their sum."""
        (first, real_first), (second, real_second) = batch["sides"]
        alike = batch["groups"][:, None] == batch["groups"][None]
        with self.placed.autocast():
            x = self.model.read(0, first, real_first)
            y = self.model.read(1, second, real_second)
            scores = self.model.scale() * self.model.late(x, real_first, y, real_second)
            contrastive = in_batch_loss(scores, alike)
            rows, wrong_y, wrong_x = drawn(scores.detach(), alike)
            left, right = torch.cat([rows, rows, wrong_x]), torch.cat([rows, wrong_y, rows])
            pairs, _ = self.model.match(x[left], real_first[left], y[right], real_second[right])
            own, other_y, other_x = pairs.view(3, -1)
            matching = (
                functional.softplus(other_y - own) + functional.softplus(other_x - own)
            ).sum() / max(1, len(rows))
            backward(contrastive + matching)
        return {"contrastive": float(contrastive.detach()), "matching": float(matching.detach())}

    def score(self) -> float:
        """Mean hit@1 of the validation rows after re-ranking; NaN when there are none."""
        scores = self.scores(self.features, self.features.val)
        return float(np.mean([s["hit@1"] for s in scores.values()])) if scores else float("nan")

    def scores(self, features: Features, rows: Rows) -> Scores:
        """By direction, hit@k of rows that have both modalities, their best by `late` re-ranked."""
        rows = subset(features.rows_with(rows, *self.names), SCORED_ROWS, seed=0)
        if not len(rows):
            return {}
        self.model.eval()
        sides = [self.placed.read(i, self.maps[i].take(rows)) for i in range(2)]
        groups = features.groups[rows]
        both = reranked_hits(self.placed, sides[0], sides[1], (groups, groups), KS, SCORED_DEPTH)
        a, b = self.names
        return {
            direction: {
                **{f"hit@{k}": done.hits[k] for k in KS},
                "queries": done.queries,
                "targets": len(rows),
            }
            for direction, done in zip((f"{a}-to-{b}", f"{b}-to-{a}"), both, strict=True)
        }

    def chosen(self) -> dict[str, Any]:
        """The settings of this run, for the record."""
        shape = self.model.shape
        return {
            "batch": self.batch,
            "hidden": shape.width,
            "dim": shape.dim,
            "layers": shape.layers,
            "heads": shape.heads,
            "dropout": self.dropout,
            "hard_negatives": self.beside,
            "scale": float(self.model.scale().detach()),
        }


def fit(features: Features, options: AlignOptions, run: FitRun) -> Fitted:
    """Train the model; keep that of the epoch with the best validation hit@1 after re-ranking."""
    torch.manual_seed(run.seed)
    method = CrossAttention(features, options, run)
    done = run_steps(method, run)
    state = method.model.state_dict()
    return Fitted(
        {},
        {**method.chosen(), **told(method.train_options, done)},
        history=done.history,
        val=method.scores(features, features.val),
        val_source=f"the validation rows, the best {SCORED_DEPTH} of each re-ranked",
        arrays={name: value.detach().float().cpu().numpy() for name, value in state.items()},
        config={"scores": "pairs", "model": method.model.shape.to_json()},
        scorer=method.scores,
    )


def in_batch_loss(scores: Any, alike: Any) -> Any:
    """Symmetric InfoNCE in nats of `(batch, batch)` scores.

    alike: `(batch, batch)` which pairs match; a row's target is spread over its matches evenly.
    """
    target = alike.float()
    rows = (functional.log_softmax(scores, 1) * target).sum(1) / target.sum(1)
    columns = (functional.log_softmax(scores, 0) * target).sum(0) / target.sum(0)
    return -(rows.mean() + columns.mean()) / 2


def drawn(scores: Any, alike: Any) -> tuple[Any, Any, Any]:
    """Rows that do not match the whole batch, and for each a wrong column and a wrong row.

    Drawn with probability softmax(scores) among those that do not match.
    """
    rows = torch.nonzero(~alike.all(1))[:, 0]
    if not len(rows):
        return rows, rows, rows
    wrong = scores.float().masked_fill(alike, -torch.inf)
    columns = wrong[rows].softmax(1).multinomial(1)[:, 0]
    return rows, columns, wrong.T[rows].softmax(1).multinomial(1)[:, 0]


def beside_each_other(
    near: NDArray[np.int64], beside: int, order: NDArray[np.int64]
) -> NDArray[np.int64]:
    """All rows in that order, but each followed by up to `beside` of its neighbours.

    near: `(rows, candidates)`, nearest first. A row that stands already is passed over.
    """
    placed = np.zeros(len(near), bool)
    found: list[int] = []
    for row in order.tolist():
        if placed[row]:
            continue
        placed[row] = True
        found.append(row)
        free = [o for o in dict.fromkeys(near[row].tolist()) if not placed[o]][:beside]
        placed[free] = True
        found.extend(free)
    return np.array(found, np.int64)


def _standardised(part: Part, rows: Rows, seed: int) -> Vectors:
    """Pooled vectors `(rows, dim)` of unit length, less their mean, over their deviation."""
    (key,) = part.keys
    mean, scale = statistics(part, (key,), rows, lambda vectors: vectors[key], seed)
    x = (part.take(rows)[key] - mean) / scale
    unit: Vectors = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return unit
