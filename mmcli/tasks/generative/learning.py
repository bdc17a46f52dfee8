"""Learning to answer: what the training loop is given.

Only the tokens of answers are learned; the loss is nats a token, over all answers of a step, in
however many passes the step is made. Knows nothing about files of a run.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmcli.engine.parts import KEPT_BYTES, size_of
from mmcli.tasks.generative.examples import Example
from mmcli.tasks.generative.pictures import pictures_of
from mmcli.tasks.generative.tokens import (
    Batch,
    Dialect,
    Filled,
    collate,
    fill,
    in_passes,
    token_losses,
)
from mmcli.tasks.generative.tuned import TunedModel


class Learner(nn.Module):
    """The network as the loop sees it: from a batch to the loss of its answers.

    The vision tower stays in evaluation mode while it is frozen.
    """

    def __init__(self, tuned: TunedModel, dialect: Dialect, vision: Sequence[str]) -> None:
        super().__init__()
        self.network = tuned.network
        self.dialect = dialect
        self.frozen = () if tuned.strategy["image"] != "frozen" else tuple(vision)

    def forward(self, batch: Batch, smoothing: float = 0.0) -> Tensor:
        """The sum of -log p of the answers' tokens, in nats."""
        logits = self.dialect.logits(self.network, batch.inputs)
        found: Tensor = token_losses(logits, batch.labels, smoothing)
        return found

    def train(self, mode: bool = True) -> "Learner":
        super().train(mode)
        for name in self.frozen:
            self.network.get_submodule(name).eval()
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Every tensor once: tied weights under their first name."""
        whole = super().state_dict(*args, **kwargs)
        once = {name for name, _ in self.named_parameters()}
        once |= {name for name, _ in self.named_buffers()}
        return {name: value for name, value in whole.items() if name in once}


class AnswerTraining:
    """The answers of the train rows, in an order that depends on seed and epoch alone.

    batch: rows in a pass; accumulate: passes in a step, or more where a dialect cannot pad; the
    step is the same. smoothing: of labels. A step's passes are prepared while the one before is
    made.
    """

    whole_epochs = False
    plain: frozenset[str] = frozenset()

    def __init__(
        self,
        tuned: TunedModel,
        dialect: Dialect,
        vision: Sequence[str],
        train: Sequence[Example],
        val: Sequence[Example],
        *,
        batch: int,
        accumulate: int = 1,
        smoothing: float = 0.0,
        seed: int = 0,
        epochs: int = 1,
        device: str = "cpu",
        score: Callable[[Any], float] | None = None,
    ) -> None:
        self.model: Any = Learner(tuned, dialect, vision)
        self.tuned, self.dialect = tuned, dialect
        self.train_rows, self.val_rows = list(train), list(val)
        self.batch, self.accumulate = max(1, batch), max(1, accumulate)
        self.smoothing, self.seed, self.epochs, self.device = smoothing, seed, epochs, device
        self.score_answers = score
        self._kept: dict[str, Filled] = {}
        self._bytes = 0
        self.steps = -(-len(self.train_rows) // (self.batch * self.accumulate))
        self.learned = frozenset(f"network.{name}" for name in tuned.learned)
        self.rates = {f"network.{name}": rate for name, rate in tuned.rates.items()}

    # -- the loop's side -----------------------------------------------------------------------

    def batches(self, epoch: int, start: int) -> Iterator[list[Batch]]:
        """The passes of each step."""
        self.tuned.at_epoch(epoch, self.epochs)
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.train_rows))
        size = self.batch * self.accumulate
        steps = [order[at : at + size].tolist() for at in range(0, len(order), size)][start:]
        with ThreadPoolExecutor(1) as ahead:
            waiting = ahead.submit(self._passes, steps[0]) if steps else None
            for number in range(len(steps)):
                assert waiting is not None
                ready = waiting.result()
                if number + 1 < len(steps):
                    waiting = ahead.submit(self._passes, steps[number + 1])
                yield ready

    def step(self, batch: list[Batch], backward: Callable[[Tensor], None]) -> dict[str, float]:
        """The mean over all answer tokens of the step, whatever the passes are."""
        tokens = sum(one.n_labels for one in batch)
        total = 0.0
        for one in batch:
            loss = self.model(on_device(one, self.device), self.smoothing) / tokens
            backward(loss)
            total += float(loss.detach())
        return {"loss": total}

    def score(self) -> float:
        """How good it is on the validation rows: minus nats a token, or what the task measures.

        NaN where there are none.
        """
        if not self.val_rows:
            return float("nan")
        if self.score_answers is not None:
            return self.score_answers(self.model)
        return -self.nats(self.val_rows)

    # -- also used outside the loop --------------------------------------------------------------

    def nats(self, rows: Sequence[Example]) -> float:
        """Mean -log p of an answer's token, in nats."""
        total, tokens = 0.0, 0
        with torch.no_grad():
            for at in range(0, len(rows), self.batch):
                for batch in self._collated(rows[at : at + self.batch]):
                    total += float(self.model(on_device(batch, self.device)))
                    tokens += batch.n_labels
        return total / max(1, tokens)

    def drop_idle(self) -> None:
        """Claim no weight that the loss of the first row does not depend on."""
        self.model.train()
        with torch.enable_grad():
            batch = on_device(self._collated(self.train_rows[:1])[0], self.device)
            self.tuned.drop_idle(self.model(batch))
        self.learned = frozenset(f"network.{name}" for name in self.tuned.learned)

    def _passes(self, numbers: Sequence[int]) -> list[Batch]:
        return self._collated([self.train_rows[number] for number in numbers])

    def _collated(self, examples: Sequence[Example]) -> list[Batch]:
        filled = [self._filled(example) for example in examples]
        lengths = [(len(row.source), len(row.source) + len(row.target)) for row in filled]
        return [
            collate([filled[number] for number in mine], self.dialect, answered=True)
            for mine in in_passes(lengths, self.batch, self.dialect.pads)
        ]

    def _filled(self, example: Example) -> Filled:
        """A row with its pictures; kept for the next epoch while all of them fit."""
        held = self._kept.get(example.id)
        if held is not None:
            return held
        pictures = [self.dialect.picture(image) for image in pictures_of(example)]
        made = fill(self.dialect.line(example, True), pictures)
        if self._bytes < KEPT_BYTES:
            self._kept[example.id] = made
            self._bytes += sum(size_of(dict(one.tensors)) for one in pictures)
        return made


def on_device(batch: Batch, device: str, dtype: Any = None) -> Batch:
    """The batch on a device, its pictures in a type."""
    inputs = {
        name: value.to(device, dtype if value.is_floating_point() else None)
        for name, value in batch.inputs.items()
    }
    labels = None if batch.labels is None else batch.labels.to(device)
    return Batch(inputs, labels, batch.n_labels)
