"""What a fusion learns to predict: the loss of each kind of label, and outputs as predictions.

Kinds of output: `classes` (softmax logits), `several` (a logit for each label by itself),
`ordinal` (logits of "more than class k"), `number` (standardised). Knows nothing about networks.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Floats = NDArray[np.float64]
#: From the kind of a label to the kind of output that predicts it.
OUTPUTS = {
    "binary": "classes",
    "multiclass": "classes",
    "multilabel": "several",
    "ordinal": "ordinal",
    "regression": "number",
}


@dataclass(frozen=True)
class Objective:
    """The loss, as told on the command line.

    kind: of the output. n_classes: of the label, 0 of a number. loss: cross-entropy or focal; of
    numbers huber, mae or mse. weights: of each class, which average to 1 over the train rows (of
    each positive for `several`). mean, scale: what numbers are standardised by.

    Sources: focal loss, Lin et al. 2017, arXiv 1708.02002; label smoothing, Szegedy et al. 2016,
    arXiv 1512.00567; ordinal, Cao, Mirjalili and Raschka 2020, arXiv 1901.07884.
    """

    kind: str
    n_classes: int = 0
    loss: str = "cross-entropy"
    gamma: float = 2.0
    smoothing: float = 0.0
    weights: tuple[float, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    prior: tuple[float, ...] = field(default=())

    @property
    def n_outputs(self) -> int:
        """The width of a network's output."""
        return {"number": 1, "ordinal": self.n_classes - 1}.get(self.kind, self.n_classes)

    def target(self, values: Any) -> Tensor:
        """Label values of some rows as the loss wants them."""
        if self.kind == "number":
            return torch.from_numpy(((values - self.mean) / self.scale).astype(np.float32))
        if self.kind == "several":
            return torch.from_numpy(np.asarray(values, np.float32))
        return torch.from_numpy(np.asarray(values, np.int64))

    def row_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """`(..., rows)` from output `(..., rows, n_outputs)` and target `(rows, …)`."""
        output = output.float()
        if self.kind == "number":
            error = output.squeeze(-1) - target
            if self.loss == "mae":
                return error.abs()
            if self.loss == "mse":
                return error.square()
            return functional.huber_loss(
                output.squeeze(-1), target.expand_as(error), reduction="none"
            )
        if self.kind == "classes":
            return self._class_losses(output, target)
        if self.kind == "ordinal":
            levels = torch.arange(self.n_outputs, device=target.device)
            above = (target[:, None] > levels).float()
        else:
            above = target
        wanted = above * (1 - self.smoothing) + 0.5 * self.smoothing
        losses = functional.softplus(output) - wanted * output
        if self.loss == "focal":
            share = output.sigmoid()
            right = torch.where(above > 0.5, share, 1 - share)
            losses = losses * (1 - right) ** self.gamma
        if self.weights and self.kind == "several":
            positive = torch.tensor(self.weights, device=output.device)
            losses = losses * torch.where(above > 0.5, positive, torch.ones(()))
        losses = losses.mean(-1)
        if self.weights and self.kind == "ordinal":
            losses = losses * torch.tensor(self.weights, device=output.device)[target]
        return losses

    def _class_losses(self, output: Tensor, target: Tensor) -> Tensor:
        logs = output.log_softmax(-1)
        own = logs.gather(-1, target.expand(logs.shape[:-1])[..., None]).squeeze(-1)
        losses = -(1 - self.smoothing) * own - self.smoothing * logs.mean(-1)
        if self.loss == "focal":
            losses = losses * (1 - own.exp()) ** self.gamma
        if self.weights:
            losses = losses * torch.tensor(self.weights, device=output.device)[target]
        return losses

    # -- outputs -------------------------------------------------------------------------------

    def probabilities(self, output: Any) -> Floats:
        """`(..., classes)` float64 from outputs `(..., n_outputs)`; of a number, its value."""
        values = np.asarray(output, np.float64)
        if self.kind == "number":
            found: Floats = values[..., 0] * self.scale + self.mean
            return found
        if self.kind == "classes":
            powers = np.exp(values - values.max(-1, keepdims=True))
            shares: Floats = powers / powers.sum(-1, keepdims=True)
            return shares
        shares = 1 / (1 + np.exp(-np.clip(values, -500, 500)))
        if self.kind == "several":
            return shares
        above = np.minimum.accumulate(shares, axis=-1)  # P(y > k) never rises with k
        edge = np.ones((*above.shape[:-1], 1))
        result: Floats = np.concatenate([edge, above], -1) - np.concatenate(
            [above, np.zeros_like(edge)], -1
        )
        return result

    def predicted(self, probabilities: Floats) -> Any:
        """Class numbers `(..., )`, labels 0 or 1 `(..., classes)`, or the values themselves.

        Of ordered classes the median: the highest that is passed with a probability above 1/2.
        """
        if self.kind == "number":
            return probabilities
        if self.kind == "classes":
            return probabilities.argmax(-1)
        if self.kind == "several":
            return (probabilities > 0.5).astype(np.int64)
        above = probabilities[..., ::-1].cumsum(-1)[..., ::-1][..., 1:]
        return (above > 0.5).sum(-1)

    def constant(self) -> Floats:
        """What is predicted of a row of which nothing is known: `(classes,)`, or the mean."""
        return np.asarray(self.mean if self.kind == "number" else self.prior, np.float64)


def objective_for(
    kind: str,
    values: Any,
    n_classes: int,
    *,
    loss: str = "auto",
    gamma: float = 2.0,
    smoothing: float = 0.0,
    balanced: bool = False,
) -> Objective:
    """The objective of a kind of label, with what the train rows say of it.

    values: labels of the train rows. balanced: classes weigh the inverse of their frequency.
    """
    output = OUTPUTS[kind]
    chosen = ("huber" if output == "number" else "cross-entropy") if loss == "auto" else loss
    told: dict[str, Any] = {"loss": chosen, "gamma": gamma, "smoothing": smoothing}
    if output == "number":
        scale = float(np.std(values)) or 1.0
        return Objective(output, mean=float(np.mean(values)), scale=scale, **told)
    if output == "several":
        shares = np.asarray(values, float).mean(0)
        positive = np.clip((1 - shares) / np.maximum(shares, 1e-9), 0.1, 20.0)
        weights = tuple(positive.tolist()) if balanced else ()
        return Objective(output, n_classes, weights=weights, prior=tuple(shares.tolist()), **told)
    counts = np.bincount(np.asarray(values, np.int64), minlength=n_classes)
    shares = (counts + 1) / (counts.sum() + n_classes)  # a class may have no train row
    weights = ()
    if balanced:
        present = counts > 0
        inverse = np.where(present, counts.sum() / np.maximum(counts, 1) / present.sum(), 0.0)
        weights = tuple(inverse.tolist())
    return Objective(output, n_classes, weights=weights, prior=tuple(shares.tolist()), **told)
