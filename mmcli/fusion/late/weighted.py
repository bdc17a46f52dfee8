"""Late fusion by convex weights of the experts, learned on rows that the experts did not see.

    p(y) = sum_m w_m p_m(y),  w_m >= 0,  sum_m w_m = 1,  over the present ones in proportion

The weights are the most likely ones of a mixture of fixed experts, by expectation-maximisation;
of several or ordered labels each output is an observation. Of numbers they are non-negative least
squares, scaled to sum to 1. Sources: Jordan and Jacobs 1994, Hierarchical mixtures of experts and
the EM algorithm, Neural Computation 6(2); Breiman 1996, Stacked regressions, Machine Learning 24.
"""

import torch
from torch import Tensor, nn

from mmcli.fusion.late.outputs import (
    blank_prior,
    checked,
    choices,
    chosen,
    mixture,
    prior_of,
    quiet,
)

#: Steps of EM or sweeps of least squares at most, and the change of a weight that ends them.
STEPS, ENOUGH = 500, 1e-8


class Weighted(nn.Module):
    """A mixture of the experts with one weight a modality."""

    prior: Tensor
    weights: Tensor

    def __init__(self, n_modalities: int, n_outputs: int, kind: str) -> None:
        super().__init__()
        self.kind, self.n_outputs = checked(kind), n_outputs
        self.register_buffer("prior", blank_prior(n_outputs, kind))
        self.register_buffer("weights", torch.full((n_modalities,), 1 / n_modalities))

    @torch.no_grad()
    def fit(self, outputs: Tensor, present: Tensor, target: Tensor) -> None:
        """Learn the weights from experts' outputs `(rows, modalities, n_outputs)`."""
        self.prior.copy_(prior_of(target, self.n_outputs, self.kind))
        some = present.any(1)
        present, target = present[some], target[some]
        outputs = quiet(outputs[some].double(), present)
        if self.kind == "number":
            centre = self.prior.double()
            inputs = quiet(outputs - centre, present).squeeze(-1)
            self.weights.copy_(least_squares_weights(inputs, target.double() - centre))
            return
        shares = chosen(target, self.n_outputs, self.kind)[:, None]
        likelihood = (shares * choices(outputs, self.kind).exp()).sum(-1)
        self.weights.copy_(mixture_weights(likelihood, present))

    def forward(self, outputs: Tensor, present: Tensor) -> Tensor:
        """`(batch, n_outputs)` of outputs `(batch, modalities, n_outputs)` and who is present."""
        return mixture(outputs, present, self.weights, self.prior, self.kind)


def mixture_weights(likelihood: Tensor, present: Tensor) -> Tensor:
    """The most likely weights `(modalities,)` of a mixture of fixed experts.

    likelihood: what each expert gave to what was, float64 `(rows, modalities, observations)`.
    present: `(rows, modalities)`. Where experts are absent the others are scaled up, which EM does
    not know of: there the log of their total is bounded by its tangent, as for rankings of parts
    of a field. Source of that: Hunter 2004, MM algorithms for generalized Bradley-Terry models,
    Annals of Statistics 32(1).
    """
    choice = present.sum(1) > 1  # an expert by itself says nothing about weights
    seen, there = likelihood[choice] * present[choice][..., None], present[choice].double()
    count, observations = likelihood.shape[1:]
    weights = torch.full((count,), 1 / count, dtype=torch.float64, device=likelihood.device)
    for _ in range(STEPS):
        joint = seen * weights[:, None]
        own = (joint / joint.sum(1, keepdim=True)).sum((0, 2))
        asked = observations * (there / (there @ weights)[:, None]).sum(0)
        new = torch.where(asked > 0, own / asked.clamp(min=1e-300), weights)
        # never 0: rows whose experts all have no weight would divide by it
        new = (new / new.sum()).clamp(min=1e-12)
        change, weights = (new - weights).abs().max(), new
        if change < ENOUGH:
            break
    return weights


def least_squares_weights(inputs: Tensor, target: Tensor) -> Tensor:
    """Non-negative weights `(columns,)` of sum 1 along the best fit of target by inputs.

    inputs: float64 `(rows, columns)`. Coordinate descent on the normal equations, with a trace of
    ridge towards even weights, so that equal experts get equal weights. All even if none helps.
    """
    count = inputs.shape[1]
    even = torch.full((count,), 1 / count, dtype=torch.float64, device=inputs.device)
    gram, wanted = inputs.T @ inputs, inputs.T @ target
    ridge = 1e-6 * gram.diagonal().mean() + 1e-12
    gram, wanted = gram + ridge * torch.eye(count).to(gram), wanted + ridge * even
    weights = even.clone()
    for _ in range(STEPS):
        before = weights.clone()
        for m in range(count):
            weights[m] = (weights[m] + (wanted[m] - gram[m] @ weights) / gram[m, m]).clamp(min=0)
        if (weights - before).abs().max() < ENOUGH:
            break
    total = weights.sum()
    return torch.where(total > 0, weights / total, even)


def example() -> list[str]:
    """Two experts and two classes, given weights."""
    model = Weighted(2, 2, "classes")
    model.weights.copy_(torch.tensor([0.75, 0.25]))
    outputs = torch.tensor([[[0.8, 0.2], [0.4, 0.6]]]).log()
    both = model(outputs, torch.tensor([[True, True]])).exp()[0].tolist()
    alone = model(outputs, torch.tensor([[False, True]])).exp()[0].tolist()
    return [
        "image: p = [0.8, 0.2], text: p = [0.4, 0.6], w = [0.75, 0.25]",
        f"both present: p_1 = 0.75 * 0.8 + 0.25 * 0.4 = {both[0]:.2f}, p_2 = {both[1]:.2f}",
        f"image absent: w = [0, 1], p = [{alone[0]:.2f}, {alone[1]:.2f}]",
    ]
