"""Late fusion by the product of calibrated experts, as if modalities were independent given y.

    log p(y) = sum_{m present} log p_m(y; T_m) - (n - 1) log prior(y) + const

p_m(y; T_m) is the expert's softmax, or sigmoid, of its logits over T_m, the temperature under which
the fit rows are most likely. n is how many are present; with none this is the prior. Of ordered
labels the logits are then made to fall by a running minimum. Numbers are averaged with weights
1 / v_m, the inverse of the mean squared error on the fit rows.

Sources: Hinton 2002, Training products of experts, Neural Computation 14(8); Kittler et al. 1998,
IEEE TPAMI 20(3), the product rule, for the prior; Guo et al. 2017, arXiv 1706.04599, temperatures.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmcli.fusion.late.outputs import (
    as_outputs,
    blank_prior,
    checked,
    choices,
    chosen,
    or_prior,
    prior_of,
    quiet,
)

#: Temperatures are sought between 1 / MOST and MOST.
MOST = 20.0
#: A golden section of the range of log temperatures: 6 times 0.618^50 is 2e-10.
SECTIONS = 50


class Product(nn.Module):
    """A log-linear product with one temperature a modality; of numbers one variance a modality."""

    prior: Tensor
    temperatures: Tensor
    variances: Tensor

    def __init__(self, n_modalities: int, n_outputs: int, kind: str) -> None:
        super().__init__()
        self.kind, self.n_outputs = checked(kind), n_outputs
        self.register_buffer("prior", blank_prior(n_outputs, kind))
        self.register_buffer("temperatures", torch.ones(n_modalities))
        self.register_buffer("variances", torch.ones(n_modalities))

    @torch.no_grad()
    def fit(self, outputs: Tensor, present: Tensor, target: Tensor) -> None:
        """Learn temperatures or variances from outputs `(rows, modalities, n_outputs)`."""
        self.prior.copy_(prior_of(target, self.n_outputs, self.kind))
        outputs, there = quiet(outputs.double(), present), present.double()
        seen = present.any(0)
        if self.kind == "number":
            errors = (outputs.squeeze(-1) - target.double()[:, None]) ** 2
            found = ((errors * there).sum(0) / there.sum(0).clamp(min=1)).clamp(min=1e-6)
            self.variances.copy_(torch.where(seen, found, torch.ones_like(found)))
            return
        shares = chosen(target, self.n_outputs, self.kind)[:, None]

        def loss(logs: Tensor) -> Tensor:
            said = choices(outputs / logs.exp()[:, None], self.kind, least=0)
            lost = torch.where(shares > 0, shares * said, torch.zeros_like(said))
            return -(lost.sum((2, 3)) * there).sum(0)

        found = golden_section(loss, outputs.shape[1], outputs.device).exp()
        self.temperatures.copy_(torch.where(seen, found, torch.ones_like(found)))

    def forward(self, outputs: Tensor, present: Tensor) -> Tensor:
        """`(batch, n_outputs)` of outputs `(batch, modalities, n_outputs)` and who is present."""
        outputs = quiet(outputs, present)
        if self.kind == "number":
            weights = present / self.variances
            total = weights.sum(1, keepdim=True).clamp(min=1e-12)
            mean = (weights[..., None] * outputs).sum(1) / total
            return or_prior(mean, present, self.prior)
        logs = choices(outputs / self.temperatures[:, None], self.kind)
        there = present[..., None, None].to(logs.dtype)
        prior = choices(self.prior.to(logs.dtype), self.kind)
        product = (logs * there).sum(1) - (there.sum(1) - 1) * prior
        output = as_outputs(product.log_softmax(-1), self.kind)
        if self.kind == "ordinal":
            output = output.cummin(-1).values
        return or_prior(output, present, self.prior)


def golden_section(loss: Callable[[Tensor], Tensor], count: int, device: torch.device) -> Tensor:
    """The log temperatures `(count,)`, float64, at which each of the losses is least.

    loss: from log temperatures `(count,)` to losses `(count,)`, each of one valley.
    """
    ratio = (5**0.5 - 1) / 2
    edge = torch.full((count,), MOST, dtype=torch.float64, device=device).log()
    low, high = -edge, edge
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(SECTIONS):
        down = at_left <= at_right
        low, high = torch.where(down, low, left), torch.where(down, right, high)
        kept, known = torch.where(down, left, right), torch.where(down, at_left, at_right)
        new = torch.where(down, high - ratio * (high - low), low + ratio * (high - low))
        at_new = loss(new)
        left, at_left = torch.where(down, new, kept), torch.where(down, at_new, known)
        right, at_right = torch.where(down, kept, new), torch.where(down, known, at_new)
    return (low + high) / 2


def example() -> list[str]:
    """Two experts and two classes, temperatures 1 and an uneven prior."""
    model = Product(2, 2, "classes")
    model.prior.copy_(torch.tensor([0.75, 0.25]).log())
    outputs = torch.tensor([[[0.8, 0.2], [0.6, 0.4]]]).log()
    both = model(outputs, torch.tensor([[True, True]])).exp()[0].tolist()
    alone = model(outputs, torch.tensor([[True, False]])).exp()[0].tolist()
    return [
        "image: p = [0.8, 0.2], text: p = [0.6, 0.4], prior = [0.75, 0.25], T = 1",
        "both present: [0.8 * 0.6 / 0.75, 0.2 * 0.4 / 0.25] = [0.64, 0.32]",
        f"normalised: p = [{both[0]:.3f}, {both[1]:.3f}]",
        f"text absent: p = [{alone[0]:.3f}, {alone[1]:.3f}]",
    ]
