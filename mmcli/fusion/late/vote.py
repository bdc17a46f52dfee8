"""Late fusion by vote: every present expert names its class, the one named most often wins.

    p(y) = (votes for y + 1 / n sum_m p_m(y)) / (n + 1),   of numbers the median

n is how many are present. Mean probabilities sum to 1, so they break ties and change nothing else.
Of several or ordered labels each output is voted on by itself, yes above a half. Source: Kittler
et al. 1998, On combining classifiers, IEEE TPAMI 20(3), majority vote and median rules.
"""

import torch
from torch import Tensor, nn

from mmcli.fusion.late.outputs import (
    LEAST,
    as_outputs,
    blank_prior,
    checked,
    choices,
    or_prior,
    prior_of,
    quiet,
)


class Vote(nn.Module):
    """Plurality of those present; only the prior is learned."""

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
        outputs = quiet(outputs, present)
        if self.kind == "number":
            return or_prior(_median(outputs, present), present, self.prior)
        logs = choices(outputs, self.kind)
        votes = nn.functional.one_hot(logs.argmax(-1), logs.shape[-1])
        there = present[..., None, None].to(logs.dtype)
        count = there.sum(1)
        share = (logs.exp() * there).sum(1) / count.clamp(min=1)
        mixed = ((votes * there).sum(1) + share) / (count + 1)
        return or_prior(as_outputs(mixed.clamp(min=LEAST).log(), self.kind), present, self.prior)


def _median(outputs: Tensor, present: Tensor) -> Tensor:
    """Of those present, the middle or the mean of the two in the middle; 0 of none."""
    last = torch.full((), torch.inf, dtype=outputs.dtype, device=outputs.device)
    ordered = torch.where(present[..., None], outputs, last).sort(dim=1).values
    count = present.sum(1)[:, None, None].clamp(min=1)
    low, high = ordered.gather(1, (count - 1) // 2), ordered.gather(1, count // 2)
    found = ((low + high) / 2).squeeze(1)
    return torch.where(present.any(1, keepdim=True), found, torch.zeros_like(found))


def example() -> list[str]:
    """Three experts and two classes: the majority is less sure, and wins."""
    model = Vote(3, 2, "classes")
    outputs = torch.tensor([[[0.6, 0.4], [0.6, 0.4], [0.1, 0.9]]]).log()
    three = model(outputs, torch.tensor([[True, True, True]])).exp()[0].tolist()
    two = model(outputs, torch.tensor([[True, False, True]])).exp()[0].tolist()
    return [
        "image: p = [0.6, 0.4], text: p = [0.6, 0.4], speech: p = [0.1, 0.9]; votes [2, 1]",
        f"p_1 = (2 + (0.6 + 0.6 + 0.1) / 3) / 4 = {three[0]:.3f}, p_2 = {three[1]:.3f}",
        "text absent: votes [1, 1], a tie that the mean probabilities [0.35, 0.65] break",
        f"p_1 = (1 + 0.35) / 3 = {two[0]:.3f}, p_2 = (1 + 0.65) / 3 = {two[1]:.3f}",
    ]
