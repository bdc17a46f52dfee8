"""Several methods, several seeds of each, in one pass over the train rows.

The seeds of a method are one stacked network under `torch.func.vmap`: they read the same batches in
the same order, begin with other weights, and share nothing else. Each has its own best epoch, and
a method whose seeds have all stopped getting better rests. Knows nothing about stores.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from mmcli.engine.autocast import autocast
from mmcli.engine.members import Members
from mmcli.fusion.inputs import Inputs, Rows
from mmcli.fusion.objective import Objective
from mmcli.fusion.own_labels import OwnLabels, OwnTargets

#: Rows of one forward pass where nothing is learned.
SCORED_ROWS = 4096
#: The same of tokens, of which a row has many.
SCORED_SEQUENCES = 128
#: A tie in the measure is broken by the loss, which weighs this much beside it.
TIE_BREAK = 1e-3
#: Batches of an epoch, at least, where there are so many rows.
LEAST_STEPS = 4
Outputs = NDArray[np.float32]


@dataclass(frozen=True)
class Entry:
    """One method of a field. build: makes one seed's network; experts: its output has one more
    axis, of modalities; parts: it gives `Parted`, whose modalities learn labels of their own."""

    name: str
    build: Callable[[], nn.Module]
    view: str = "pooled"
    experts: bool = False
    parts: bool = False


class Stacked(nn.Module):
    """As many networks of one shape as there are seeds, called at once."""

    def __init__(self, entry: Entry, seeds: Sequence[int]) -> None:
        super().__init__()
        each = []
        for seed in seeds:
            torch.manual_seed(seed)
            each.append(entry.build())
        self.base = [each[0]]  # in a list, so that its weights are not those of this module
        values, _ = stack_module_state(each)
        self.stacked = nn.ParameterDict(
            {name.replace(".", "/"): nn.Parameter(v.detach()) for name, v in values.items()}
        )

    def forward(self, x: Any, present: Tensor, valid: Any) -> Any:
        """What the networks give, each with the seeds as its first axis."""
        base = self.base[0].train(self.training)
        values = {name.replace("/", "."): value for name, value in self.stacked.items()}

        def one(mine: dict[str, Tensor]) -> Any:
            return functional_call(base, mine, (x, present, valid))

        return vmap(one, randomness="same")(values)

    def member(self, number: int) -> dict[str, Tensor]:
        """The weights of one seed, by the names of its own network."""
        return {n.replace("/", "."): v[number].detach().clone() for n, v in self.stacked.items()}


class Field:
    """What the training loop is given: every method of a run at once."""

    whole_epochs = False
    plain: frozenset[str]

    def __init__(
        self,
        inputs: Inputs,
        entries: Sequence[Entry],
        seeds: Sequence[int],
        objective: Objective,
        labels: Any,
        train: Rows,
        val: Rows,
        score: Callable[[Any, Any], float],
        *,
        batch: int,
        modality_dropout: float = 0.0,
        device: str = "cpu",
        dtype: str = "float32",
        own: OwnLabels | None = None,
    ) -> None:
        """labels: values of every row. score: from predicted probabilities and label values of
        some rows to a number, greater is better. own: labels of the modalities by themselves."""
        self.inputs, self.entries, self.seeds = inputs, list(entries), list(seeds)
        self.objective, self.labels, self.score_rows = objective, labels, score
        self.train_rows, self.val_rows = train, val
        # what the last whole batch leaves over waits for another epoch: it is never much
        self.batch = max(1, min(batch, -(-len(train) // LEAST_STEPS)))
        self.modality_dropout = modality_dropout
        self.device, self.dtype = device, dtype
        self.model = nn.ModuleDict({e.name: Stacked(e, seeds) for e in entries}).to(device)
        self.own: dict[str, OwnTargets] = {}
        if own is not None:
            there = inputs.present(train)
            for name in (e.name for e in entries if e.parts):
                targets = OwnTargets(own, objective, labels, train, there, len(seeds))
                self.own[name] = self.model[name].own = targets.to(device)
        self.target = objective.target(labels[train])
        self.place = np.full(len(inputs.modalities[inputs.names[0]].present), -1, np.int64)
        self.place[train] = np.arange(len(train))
        self.steps = max(1, len(train) // self.batch)
        self.members, self.first = self._members()
        self.plain = frozenset(
            name for name, value in self.model.named_parameters() if value.dim() < 3
        )
        self.resting: set[str] = set()
        self.last: dict[str, NDArray[np.float64]] = {}

    def _members(self) -> tuple[Members, dict[str, int]]:
        """Experts are a member a seed and modality, other methods a member a seed."""
        count, first, begins = 0, {}, {}
        for entry in self.entries:
            begins[entry.name] = count
            for name in self.model[entry.name].stacked:
                part = int(name.split("/")[1]) if entry.experts else 0
                first[f"{entry.name}.stacked.{name}"] = count + part * len(self.seeds)
            if entry.name in self.own:
                first[f"{entry.name}.own.labels"] = count
            count += len(self.seeds) * (len(self.inputs.names) if entry.experts else 1)
        return Members(count, first), begins

    # -- the loop's side -----------------------------------------------------------------------

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """Row numbers and presence; the order depends on the first seed and the epoch alone."""
        if not start:  # else the labels of this epoch are there
            self._renew(epoch)
        rng = np.random.default_rng((self.seeds[0], epoch))
        order = rng.permutation(self.train_rows)
        for step in range(self.steps):
            rows = order[step * self.batch : (step + 1) * self.batch]
            present = self.inputs.present(rows)
            if self.modality_dropout:
                present = dropped(present, self.modality_dropout, rng)
            if step >= start:
                yield rows, present

    def step(self, batch: Any, backward: Callable[[Tensor], None]) -> dict[str, float]:
        """The losses of all members at once: none depends on another's weights."""
        rows, there = batch
        present = torch.from_numpy(there).to(self.device)
        target = self.target[torch.from_numpy(self.place[rows])].to(self.device)
        seen: dict[str, Any] = {}
        total = 0.0
        for entry in self.entries:
            if entry.name in self.resting:
                continue
            if entry.view not in seen:
                seen[entry.view] = self.inputs.batch(rows, entry.view, self.device)
            loss = self._loss(entry, *seen[entry.view], present, target, rows)
            backward(loss)  # method by method, so that only one's graph is held at a time
            total += float(loss.detach())
        active = len(self.entries) - len(self.resting)
        return {"loss": total / active / len(self.seeds)} if active else {}

    def _loss(
        self, entry: Entry, x: Any, valid: Any, present: Tensor, target: Tensor, rows: Rows
    ) -> Tensor:
        with autocast(self.device, self.dtype):
            found = self.model[entry.name](x, present, valid)
        if not entry.experts:
            losses = self.objective.row_losses(found.output, target)
            if entry.name in self.own:
                losses = losses + self.own[entry.name].losses(found.parts, rows, present)
            return (losses.mean(-1) + found.penalty.float()).sum()
        outputs = found.transpose(1, 2)  # (seeds, modalities, rows, n_outputs)
        losses = self.objective.row_losses(outputs, target)
        weights = present.float().T
        return ((losses * weights).sum(-1) / weights.sum(-1).clamp(min=1.0)).sum()

    def _renew(self, epoch: int) -> None:
        """Generate the modalities' labels of an epoch where there is no column of them."""
        for entry in self.entries:
            if entry.name in self.own and entry.name not in self.resting:

                def blocks(entry: Entry = entry) -> Iterator[tuple[slice, Tensor, Tensor]]:
                    at = 0
                    for found in self._found(entry, self.train_rows):
                        size = found.vector.shape[1]
                        yield slice(at, at + size), found.states.float(), found.vector.float()
                        at += size

                self.own[entry.name].renew(blocks, epoch + 1)

    def score(self) -> NDArray[np.float64]:
        """One number a member on the validation rows, NaN where there are none."""
        found = np.full(self.members.count, np.nan)
        if not len(self.val_rows):
            return found
        there = self.inputs.present(self.val_rows)
        for entry in self.entries:
            mine = self._slice(entry)
            if entry.name in self.resting and entry.name in self.last:
                found[mine] = self.last[entry.name]  # what rests does not change
                continue
            outputs = self.outputs(entry.name, self.val_rows)
            each = np.full(mine.stop - mine.start, np.nan)
            for seed in range(len(self.seeds)):
                if not entry.experts:
                    each[seed] = self._scored(outputs[seed], self.val_rows)
                    continue
                for m in np.flatnonzero(there.any(0)):
                    here = there[:, m]
                    each[m * len(self.seeds) + seed] = self._scored(
                        outputs[seed][here, m], self.val_rows[here]
                    )
            # a modality that no validation row has stops with the others
            if not np.isnan(each).all():
                each = np.where(np.isnan(each), np.nanmean(each), each)
            found[mine] = self.last[entry.name] = each
        return found

    def _slice(self, entry: Entry) -> slice:
        begin = self.first[entry.name]
        size = len(self.seeds) * (len(self.inputs.names) if entry.experts else 1)
        return slice(begin, begin + size)

    def _scored(self, output: Outputs, rows: Rows) -> float:
        values = self.labels[rows]
        measure = self.score_rows(self.objective.probabilities(output), values)
        losses = self.objective.row_losses(torch.from_numpy(output), self.objective.target(values))
        return measure - TIE_BREAK * float(losses.mean())

    def rest(self, over: NDArray[np.bool_]) -> None:
        """Methods all of whose members are over take no more steps."""
        self.resting = {e.name for e in self.entries if over[self._slice(e)].all()}

    # -- what came of it -----------------------------------------------------------------------

    def outputs(self, name: str, rows: Rows) -> Outputs:
        """`(seeds, rows, n_outputs)` of a method, or `(seeds, rows, modalities, n_outputs)`."""
        if not len(rows):  # one row for the shape, and then none of it
            return self.outputs(name, np.zeros(1, np.int64))[:, :0]
        entry = next(e for e in self.entries if e.name == name)
        found = [
            (result if entry.experts else result.output).float().cpu().numpy()
            for result in self._found(entry, rows)
        ]
        return np.concatenate(found, axis=1)

    @torch.no_grad()
    def _found(self, entry: Entry, rows: Rows) -> Iterator[Any]:
        """What a method makes of the rows, a block at a time, nothing dropped out."""
        network = self.model[entry.name]
        was = network.training
        network.eval()
        step = SCORED_SEQUENCES if entry.view == "tokens" else SCORED_ROWS
        for at in range(0, len(rows), step):
            part = rows[at : at + step]
            x, valid = self.inputs.batch(part, entry.view, self.device)
            present = torch.from_numpy(self.inputs.present(part)).to(self.device)
            yield network(x, present, valid)
        network.train(was)


def dropped(
    present: NDArray[np.bool_], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Each part is left out with this probability, but a row keeps one of those it had."""
    kept = present & (rng.random(present.shape) >= share)
    lost = present.any(1) & ~kept.any(1)
    if lost.any():
        chances = np.where(present[lost], rng.random((int(lost.sum()), present.shape[1])), -1.0)
        kept[np.flatnonzero(lost), chances.argmax(1)] = True
    return kept
