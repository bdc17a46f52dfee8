"""Towers, fusion and head learning together: what the training loop is given.

An epoch goes through the train rows in an order that depends on seed and epoch alone; parts are
decoded a batch ahead. Losses are those of `fusion/objective.py`. Knows nothing about stores.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmcli.engine.autocast import autocast
from mmcli.engine.parts import PartReader, Pending
from mmcli.fusion.field import TIE_BREAK, dropped
from mmcli.fusion.inputs import Rows
from mmcli.fusion.objective import Objective
from mmcli.fusion.own_labels import OwnLabels, OwnTargets
from mmcli.tasks.towers import TowersAndFusion
from mmcli.tuning.mixing import draw as blend


class EndToEnd:
    """Learns the label of the train rows.

    learned: names of the parameters that learn; rates: multiples of the rate, by name. begin: told
    (epoch) before each epoch, for what thaws by and by. batch: rows in a forward pass; accumulate:
    passes in a step. mixup: alpha of the Beta distribution, 0 for none. own: labels that the
    outputs of the modalities learn, where the fusion gives `Parted`.
    """

    whole_epochs = False
    plain: frozenset[str] = frozenset()

    def __init__(
        self,
        model: TowersAndFusion,
        reader: PartReader,
        objective: Objective,
        labels: Any,
        train: Rows,
        val: Rows,
        score: Callable[[Any, Any], float],
        *,
        learned: frozenset[str],
        rates: Mapping[str, float],
        begin: Callable[[int], None] = lambda epoch: None,
        batch: int = 32,
        accumulate: int = 1,
        mixup: float = 0.0,
        modality_dropout: float = 0.0,
        seed: int = 0,
        device: str = "cpu",
        dtype: str = "float32",
        own: OwnLabels | None = None,
    ) -> None:
        self.model, self.reader, self.objective, self.labels = model, reader, objective, labels
        self.train_rows, self.val_rows, self.score_rows = train, val, score
        self.learned, self.rates, self.begin = learned, dict(rates), begin
        self.batch, self.accumulate = max(1, batch), max(1, accumulate)
        self.mixup, self.modality_dropout, self.seed = mixup, modality_dropout, seed
        self.device, self.dtype = device, dtype
        self.rows_a_step = min(self.batch * self.accumulate, len(train))
        self.steps = max(1, len(train) // self.rows_a_step)
        self.own: OwnTargets | None = None
        if own is not None:
            there = model.inputs.present(train)
            self.own = OwnTargets(own, objective, labels, train, there).to(device)

    # -- the loop's side -----------------------------------------------------------------------

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """Passes of one step: rows, presence and parts of each; decoded a step ahead."""
        self.begin(epoch)
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(self.train_rows)
        every = []
        for step in range(self.steps):
            rows = order[step * self.rows_a_step : (step + 1) * self.rows_a_step]
            there = self.model.inputs.present(rows)
            if self.modality_dropout:
                there = dropped(there, self.modality_dropout, rng)
            every.append((rows, there, int(rng.integers(2**31))))
        ahead: Pending | None = None
        for step in range(start, self.steps):
            pending = ahead or self.reader.start(every[step][0].tolist())
            parts = self.reader.finish(pending)
            ahead = None
            if step + 1 < self.steps:
                ahead = self.reader.start(every[step + 1][0].tolist())
            yield (*every[step], parts)

    def step(self, batch: Any, backward: Callable[[Tensor], None]) -> dict[str, float]:
        """The mean loss of the step's rows, its gradients gathered over the passes."""
        rows, there, draw, parts = batch
        total = 0.0
        for at in range(0, len(rows), self.batch):
            mine = slice(at, at + self.batch)
            share = len(rows[mine]) / len(rows)
            loss = self._loss(rows[mine], there[mine], parts, draw + at) * share
            backward(loss)
            total += float(loss.detach())
        return {"loss": total}

    def _loss(self, rows: Rows, there: NDArray[np.bool_], parts: Any, draw: int) -> Tensor:
        present = torch.from_numpy(there).to(self.device)
        target = self.objective.target(self.labels[rows]).to(self.device)
        mix = None
        if self.mixup:
            mix = blend(present, self.mixup, torch.Generator().manual_seed(draw))
        with self.autocast():
            found = self.model(parts, rows, present, mix)
        losses = self._row_losses(found, target, rows, present)
        if mix is not None:
            order = mix.order.cpu().numpy()
            other = self._row_losses(found, target[mix.order], rows[order], present)
            losses = mix.losses(losses, other)
        return losses.mean() + found.penalty.float()

    def _row_losses(self, found: Any, target: Tensor, rows: Rows, present: Tensor) -> Tensor:
        """Of what is found, against the labels of these rows, `(rows,)`."""
        losses = self.objective.row_losses(found.output, target)
        if self.own is not None:
            losses = losses + self.own.losses(found.parts[None], rows, present)[0]
        return losses

    def autocast(self) -> Any:
        return autocast(self.device, self.dtype)

    def score(self) -> float:
        """How good it is on the validation rows; NaN where there are none."""
        if not len(self.val_rows):
            return float("nan")
        outputs, _ = self.outputs(self.val_rows)
        values = self.labels[self.val_rows]
        measure = self.score_rows(self.objective.probabilities(outputs), values)
        losses = self.objective.row_losses(torch.from_numpy(outputs), self.objective.target(values))
        return measure - TIE_BREAK * float(losses.mean())

    # -- what came of it -----------------------------------------------------------------------

    @torch.no_grad()
    def outputs(
        self, rows: Rows, hidden: tuple[int, ...] = ()
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Outputs `(rows, n_outputs)` and fused vectors; hidden: modalities taken as absent."""
        was = self.model.training
        self.model.eval()
        outputs, vectors = [], []
        blocks = [rows[at : at + self.batch] for at in range(0, len(rows), self.batch)]
        ahead = self.reader.start(blocks[0].tolist()) if blocks else None
        for number, block in enumerate(blocks):
            assert ahead is not None
            parts = self.reader.finish(ahead)
            if number + 1 < len(blocks):
                ahead = self.reader.start(blocks[number + 1].tolist())
            there = self.model.inputs.present(block)
            there[:, list(hidden)] = False
            with self.autocast():
                found = self.model(parts, block, torch.from_numpy(there).to(self.device))
            outputs.append(found.output.float().cpu().numpy())
            vectors.append(found.vector.float().cpu().numpy())
        self.model.train(was)
        return np.concatenate(outputs), np.concatenate(vectors)
