"""Late fusion by the mean of the experts' probabilities.

    p(y) = 1 / n sum_{m present} p_m(y),   of numbers y = 1 / n sum_{m present} y_m

n is how many are present; with none the answer is the prior. Source: Kittler et al. 1998, On
combining classifiers, IEEE TPAMI 20(3), the sum rule.
"""

import torch
from torch import Tensor, nn

from mmcli.fusion.late.outputs import blank_prior, checked, mixture, prior_of


class Mean(nn.Module):
    """The mean of those present; only the prior is learned."""

    prior: Tensor

    def __init__(self, n_modalities: int, n_outputs: int, kind: str) -> None:
        super().__init__()
        self.kind, self.n_outputs = checked(kind), n_outputs
        self.register_buffer("prior", blank_prior(n_outputs, kind))

    @torch.no_grad()
    def fit(self, outputs: Tensor, present: Tensor, target: Tensor) -> None:
        """Take the prior from the target; experts' outputs `(rows, modalities, n_outputs)`."""
        self.prior.copy_(prior_of(target, self.n_outputs, self.kind))

    def forward(self, outputs: Tensor, present: Tensor) -> Tensor:
        """`(batch, n_outputs)` of outputs `(batch, modalities, n_outputs)` and who is present."""
        weights = torch.ones(present.shape[1], device=outputs.device)
        return mixture(outputs, present, weights, self.prior, self.kind)


def example() -> list[str]:
    """Two experts and two classes."""
    model = Mean(2, 2, "classes")
    outputs = torch.tensor([[[0.8, 0.2], [0.4, 0.6]]]).log()
    both = model(outputs, torch.tensor([[True, True]])).exp()[0].tolist()
    alone = model(outputs, torch.tensor([[True, False]])).exp()[0].tolist()
    return [
        "image: p = [0.8, 0.2], text: p = [0.4, 0.6]",
        f"both present: [(0.8 + 0.4) / 2, (0.2 + 0.6) / 2] = [{both[0]:.2f}, {both[1]:.2f}]",
        f"text absent:  [{alone[0]:.2f}, {alone[1]:.2f}]",
    ]
