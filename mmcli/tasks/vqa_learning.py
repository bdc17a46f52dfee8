"""How a network learns answers: batches, the loss, the score that chooses an epoch; and applied.

The loss is the cross entropy between what the network says and the annotators' scores, brought to
a sum of one (Teney et al. 2017, arXiv 1708.02711, use them one by one). Knows nothing about files.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.data.answers import Targets
from mmcli.engine.autocast import autocast
from mmcli.engine.torch_stack import load_torch
from mmcli.tasks.vqa_tokens import Asked, Rows, blocks

torch = load_torch()

#: Rows of one forward pass where nothing is learned.
SCORED_ROWS = 512
BOTH = ("image", "text")


@dataclass(frozen=True)
class Run:
    """Where it runs. reads: what it may see of a row."""

    device: str = "cpu"
    dtype: str = "float32"
    reads: tuple[str, ...] = BOTH

    def autocast(self) -> Any:
        """The precision of the forward pass."""
        return autocast(self.device, self.dtype)


class VqaMethod:
    """What the training loop is given: network, batches, loss, score."""

    whole_epochs = False

    def __init__(
        self,
        network: Any,
        asked: Asked,
        targets: Targets,
        train: Rows,
        val: Rows,
        run: Run,
        *,
        batch: int,
        seed: int,
        smoothing: float = 0.0,
        left_out: float = 0.0,
    ) -> None:
        """left_out: how often a row loses its picture or its question while it learns."""
        self.model, self.asked, self.targets, self.run = network, asked, targets, run
        self.train, self.val = train, val
        self.batch = min(batch, len(train))
        self.steps = max(1, len(train) // self.batch)
        self.seed, self.smoothing = seed, smoothing
        self.left_out = left_out if run.reads == BOTH else 0.0
        self.plain = network.plain

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """Batches of an epoch, all that is random in them from seed and epoch alone."""
        draw = np.random.default_rng((self.seed, epoch))
        order = self.asked.by_picture(self.train, draw)
        lost = draw.random(len(order)) < self.left_out
        which = np.where(lost, draw.integers(0, 2, len(order)), -1)
        for number in range(start, self.steps):
            part = slice(number * self.batch, (number + 1) * self.batch)
            rows = order[part]
            target = torch.from_numpy(self.targets.dense(rows)).to(self.run.device)
            yield gathered(self.asked, rows, self.run, which[part]), target

    def step(self, batch: Any, backward: Callable[[Any], None]) -> dict[str, float]:
        """The cross entropy of a batch, in nats, and its gradient."""
        (x, picks), scores = batch
        with self.run.autocast():
            logits = self.model(x, picks)
        target = scores / scores.sum(1, keepdim=True)
        target = target * (1 - self.smoothing) + self.smoothing / target.shape[1]
        loss = -(target * logits.float().log_softmax(1)).sum(1).mean()
        backward(loss)
        return {"loss": float(loss.detach())}

    def score(self) -> float:
        """The mean score of the validation rows; NaN when there are none."""
        if not len(self.val):
            return float("nan")
        shares = probabilities(self.model, self.asked, self.val, self.run)
        said = shares.argmax(1)
        return float(self.targets.dense(self.val)[np.arange(len(said)), said].mean())


def gathered(
    asked: Asked, rows: Rows, run: Run, lost: NDArray[np.int64] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tokens of the rows' distinct pictures and questions, and which of them each row has.

    lost: of each row the number of the modality that it is to lose, -1 for none.
    """
    x, picks = {}, {}
    for number, name in enumerate(BOTH):
        bank = asked.pictures if name == "image" else asked.questions
        places = (asked.picture_of if name == "image" else asked.question_of)[rows]
        here = (places >= 0) & bank.present[np.maximum(places, 0)]
        if lost is not None:
            here &= lost != number
        if name not in run.reads or not here.any():
            picks[name] = torch.full((len(rows),), -1, device=run.device)
            continue
        distinct, found = np.unique(places[here], return_inverse=True)
        chosen = np.full(len(rows), -1, np.int64)
        chosen[here] = found
        values, real = bank.batch(distinct)
        x[name] = (torch.from_numpy(values).to(run.device), torch.from_numpy(real).to(run.device))
        picks[name] = torch.from_numpy(chosen).to(run.device)
    return x, picks


def probabilities(network: Any, asked: Asked, rows: Rows, run: Run) -> NDArray[np.float32]:
    """float32 `(len(rows), answers)` of the answers to the rows."""
    network.eval()
    found = [np.zeros((0, network.shape.n_answers), np.float32)]
    with torch.no_grad():
        for part in blocks(rows, SCORED_ROWS):
            x, picks = gathered(asked, part, run)
            with run.autocast():
                logits = network(x, picks)
            found.append(logits.float().softmax(1).cpu().numpy())
    return np.concatenate(found)
