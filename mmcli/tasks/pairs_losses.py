"""What pairs without labels teach: contrast, matching, and giving back what was hidden.

Each function takes unit vectors of matched rows and gives a scalar. Negatives of matching are drawn
from the batch, the likelier the closer they lie (Li et al. 2021, arXiv 2107.07651, sec. 3.2). Knows
nothing about encoders or stores.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mmcli.align.losses import info_nce
from mmcli.tasks.pairs import Joint, PairNetwork


@dataclass(frozen=True)
class Weights:
    """How much each loss counts; contrast counts 1."""

    matching: float = 1.0
    masked: float = 1.0


@dataclass(frozen=True)
class Drawn:
    """For each row the number of a wrong partner, and which rows have one, `(rows,)` each."""

    number: Tensor
    there: Tensor


def pair_losses(
    network: PairNetwork,
    a: Tensor,
    b: Tensor,
    groups: Tensor | None,
    targets: Mapping[str, Tensor],
    weights: Weights,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """The losses by name, their weighted sum as `loss`.

    a, b: unit vectors of the first and the second modality. groups: `(rows,)`, rows of one number
    belong together; None where every row stands alone. targets: standardised vectors that `Joint`
    gives back, by modality; without a `Joint` there is contrast alone. generator: draws wrong
    partners, None for torch's own.
    """
    scale = network.scale()
    found = {"contrastive": info_nce(a, b, scale, groups)}
    joint = network.joint
    if joint is not None:
        if weights.matching:
            found["matching"] = matching(joint, a, b, scale, groups, generator)
        if weights.masked:
            found["masked"] = masked(joint, a, b, network.names, targets)
    factor = {"contrastive": 1.0, "matching": weights.matching, "masked": weights.masked}
    total = sum((factor[name] * loss for name, loss in found.items()), a.new_zeros(()))
    return {"loss": total, **found} if joint is not None else {"loss": total}


def matching(
    joint: Joint,
    a: Tensor,
    b: Tensor,
    scale: Tensor,
    groups: Tensor | None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Binary cross-entropy of own partners and two drawn wrong ones a row, in nats."""
    own, wrong = match_logits(joint, a, b, scale, groups, generator)
    logits = torch.cat([own, wrong])
    truth = torch.cat([torch.ones_like(own), torch.zeros_like(wrong)])
    return functional.binary_cross_entropy_with_logits(logits, truth)


def match_logits(
    joint: Joint,
    a: Tensor,
    b: Tensor,
    scale: Tensor,
    groups: Tensor | None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits of own partners `(rows,)`, and of wrong ones `(at most 2 rows,)`.

    scale: the likelier a partner the closer, by a softmax of so many times the cosine; 0 draws any.
    """
    with torch.no_grad():
        scores = (scale * (a @ b.T)).float()
        of_a = wrong_partners(scores, groups, generator)
        of_b = wrong_partners(scores.T, groups, generator)
    wrong = torch.cat(
        [
            joint.matches(a, b[of_a.number])[of_a.there],
            joint.matches(a[of_b.number], b)[of_b.there],
        ]
    )
    return joint.matches(a, b), wrong


def wrong_partners(
    scores: Tensor, groups: Tensor | None, generator: torch.Generator | None = None
) -> Drawn:
    """For each row of `scores` a column that does not belong to it, drawn by a softmax."""
    n = len(scores)
    groups = torch.arange(n, device=scores.device) if groups is None else groups
    right = groups[:, None] == groups[None]
    there = ~right.all(dim=1)
    chances = scores.masked_fill(right, -torch.inf)
    chances[~there] = 0.0
    drawn = torch.multinomial(chances.softmax(dim=1), 1, generator=generator)
    return Drawn(drawn.squeeze(1), there)


def masked(
    joint: Joint, a: Tensor, b: Tensor, names: tuple[str, ...], targets: Mapping[str, Tensor]
) -> Tensor:
    """Mean squared error of each modality's standardised vectors, told from the other alone.

    1 is what knowing nothing gives. Source: Tan and Bansal 2019, arXiv 1908.07490, on features.
    """
    errors = [
        functional.mse_loss(joint.hidden(a, b, name, first=name == names[0]), targets[name])
        for name in names
    ]
    return torch.stack(errors).mean()


@torch.no_grad()
def judged(
    network: PairNetwork,
    a: Tensor,
    b: Tensor,
    groups: Tensor | None,
    targets: Mapping[str, Tensor],
    generator: torch.Generator,
) -> dict[str, Any]:
    """What `Joint` is worth on rows it did not learn from, {} without one.

    `own above hard`, `own above any`: how often an own partner gets a higher logit than a wrong
    one, drawn as in training or from all; a half by chance. `restored NAME`: the share of the
    variance that is given back, at most 1.
    """
    joint = network.joint
    if joint is None:
        return {}
    found: dict[str, Any] = {}
    for name, scale in (("hard", network.scale()), ("any", a.new_zeros(()))):
        own, wrong = match_logits(joint, a, b, scale, groups, generator)
        if len(wrong):
            order = torch.searchsorted(wrong.sort().values, own)
            found[f"own above {name}"] = float(order.float().mean() / len(wrong))
    for name in network.names:
        told = joint.hidden(a, b, name, first=name == network.names[0])
        truth = targets[name]
        error = (told - truth).square().mean()
        spread = (truth - truth.mean(dim=0)).square().mean()
        found[f"restored {name}"] = float(1 - error / spread)
    return found
