"""Late fusion by stacking: a linear model on the experts' outputs and who is present.

    y = W [z_1; …; z_M; p; 1]

z_m are log-probabilities of classes, logits, or a number; an absent expert says the prior, and
p_m is 0. Where hardly a fit row lacks a modality, copies of the others that lack it join them at a
tenth of their weight, so that W knows what to say when it is missing. W minimises log loss +
l/2 |W - W_0|^2 on the fit rows, of numbers squared error; W_0 is the mean of matching outputs, so
that few rows stay near it, and l the best of a grid in cross-validation. With many classes an
output reads only its own z_mk. Of ordered labels the logits are made to fall by a running minimum.
Sources: Wolpert 1992, Stacked generalization, Neural Networks 5(2); Ting and Witten 1999, JAIR 10,
on probabilities as inputs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmcli.fusion.late.outputs import (
    as_outputs,
    blank_prior,
    checked,
    choices,
    or_prior,
    prior_of,
    quiet,
)

#: Strengths of the penalty; ten rows or fewer get the first, the strongest, without a choice.
PENALTIES = (1e4, 1e3, 1e2, 1e1, 1.0, 1e-1)
FOLDS, FEWEST = 5, 10
#: Weight of a row from which a modality was taken away, and the share of rows that really lack it
#: from which on none is.
MASKED, ENOUGH = 0.1, 0.05
#: Products of an output with another's z are learned up to this many: 18 classes of 3 modalities.
MOST_WEIGHTS = 1000


class Stack(nn.Module):
    """Multinomial, or for each output a logistic, or ridge regression on the experts' outputs."""

    prior: Tensor
    weight: Tensor

    def __init__(self, n_modalities: int, n_outputs: int, kind: str) -> None:
        super().__init__()
        self.kind, self.n_outputs = checked(kind), n_outputs
        self.all_pairs = n_modalities * n_outputs**2 <= MOST_WEIGHTS
        self.register_buffer("prior", blank_prior(n_outputs, kind))
        self.register_buffer("weight", self._mean_weight(n_modalities))

    def _mean_weight(self, n_modalities: int) -> Tensor:
        """W_0 `(n_outputs, features)`: 1 / M for an output's own z of each modality, else 0."""
        own = torch.eye(self.n_outputs) if self.all_pairs else torch.ones(self.n_outputs, 1)
        rest = torch.zeros(self.n_outputs, n_modalities + 1)
        return torch.cat([own.repeat(1, n_modalities) / n_modalities, rest], dim=1)

    def _features(self, outputs: Tensor, present: Tensor) -> Tensor:
        """`(rows, features)`, or `(n_outputs, rows, features)` where each output has its own."""
        said = quiet(outputs, present)
        if self.kind != "number":
            said = as_outputs(choices(said, self.kind), self.kind)
        said = torch.where(present[..., None], said, self.prior.to(said.dtype))
        flags = torch.cat([present, present.new_ones((len(present), 1))], dim=1).to(said.dtype)
        if self.all_pairs:
            return torch.cat([said.flatten(1), flags], dim=1)
        flags = flags.expand(self.n_outputs, -1, -1)
        return torch.cat([said.permute(2, 0, 1), flags], dim=2)

    @torch.no_grad()
    def fit(self, outputs: Tensor, present: Tensor, target: Tensor) -> None:
        """Learn from outputs `(rows, modalities, n_outputs)`; a minute with hundreds of classes."""
        self.prior.copy_(prior_of(target, self.n_outputs, self.kind))
        rows = torch.nonzero(present.any(1)).squeeze(1)
        present, rows, weights = _with_masked(present[rows], rows)
        features = self._features(outputs[rows].double(), present)
        target = target[rows]
        if self.kind == "ordinal":
            levels = torch.arange(self.n_outputs, device=target.device)
            target = (target[:, None] > levels).double()
        target = target.long() if self.kind == "classes" else target.double()
        start = self._mean_weight(present.shape[1]).to(features)
        penalty = PENALTIES[0]
        if int((weights == 1).sum()) > FEWEST:
            penalty = _best_penalty(features, target, weights, rows, start, self.kind)
        weight = start
        for strength in (p for p in PENALTIES if p >= penalty):
            weight = _fitted(features, target, weights, start, weight, strength, self.kind)
        self.weight.copy_(weight)

    def forward(self, outputs: Tensor, present: Tensor) -> Tensor:
        """`(batch, n_outputs)` of outputs `(batch, modalities, n_outputs)` and who is present."""
        output = _scores(self._features(outputs, present), self.weight.to(outputs.dtype))
        if self.kind == "classes":
            output = output.log_softmax(-1)
        elif self.kind == "ordinal":
            output = output.cummin(-1).values
        return or_prior(output, present, self.prior)


def _scores(features: Tensor, weight: Tensor) -> Tensor:
    """`(rows, n_outputs)`."""
    if features.dim() == 2:
        return features @ weight.T
    return (features @ weight[:, :, None]).squeeze(-1).T


def _with_masked(present: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Who is present, of which rows, with what weight: the rows themselves, then masked copies."""
    parts = [(present, rows, torch.ones(len(rows), dtype=torch.float64, device=rows.device))]
    for modality in range(present.shape[1]):
        lacking = 1 - present[:, modality].double().mean().item() if len(rows) else 1.0
        masked = present.clone()
        masked[:, modality] = False
        here = present[:, modality] & masked.any(1)
        if lacking < ENOUGH:
            parts.append((masked[here], rows[here], torch.full_like(parts[0][2][here], MASKED)))
    presents, places, weights = zip(*parts, strict=True)
    return torch.cat(presents), torch.cat(places), torch.cat(weights)


def _loss(scores: Tensor, target: Tensor, weights: Tensor, kind: str) -> Tensor:
    """The weighted sum over rows of log loss or of half the squared error."""
    if kind == "classes":
        return weights @ functional.cross_entropy(scores, target, reduction="none")
    if kind == "number":
        return weights @ (scores.squeeze(1) - target).square() / 2
    each = functional.binary_cross_entropy_with_logits(scores, target, reduction="none")
    return weights @ each.sum(1)


def _best_penalty(
    features: Tensor, target: Tensor, weights: Tensor, rows: Tensor, start: Tensor, kind: str
) -> float:
    """The penalty of the least loss on held-out folds, from the strongest until it gets worse.

    rows: a number for each that its copies share, so that they are held out together.
    """
    distinct, place = torch.unique(rows, return_inverse=True)
    order = torch.randperm(len(distinct), generator=torch.Generator().manual_seed(0))
    folds = torch.empty_like(order)
    folds[order] = torch.arange(len(distinct)) % FOLDS
    fold_of = folds.to(place.device)[place]
    learned = [start] * FOLDS
    best, least = PENALTIES[0], float("inf")
    for penalty in PENALTIES:
        total = 0.0
        for fold in range(FOLDS):
            kept, held = fold_of != fold, fold_of == fold
            given = features[..., kept, :], target[kept], weights[kept], start, learned[fold]
            learned[fold] = _fitted(*given, penalty, kind)
            scores = _scores(features[..., held, :], learned[fold])
            total += _loss(scores, target[held], weights[held], kind).item()
        if total >= least:
            break
        best, least = penalty, total
    return best


def _fitted(
    features: Tensor,
    target: Tensor,
    weights: Tensor,
    start: Tensor,
    near: Tensor,
    penalty: float,
    kind: str,
) -> Tensor:
    """The weights of least loss + penalty / 2 |weight - start|^2, sought from `near`; float64."""
    if kind == "number":
        weighted = features.T * weights
        gram = weighted @ features + penalty * torch.eye(features.shape[1]).to(features)
        missing = target - _scores(features, start).squeeze(1)
        return start + torch.linalg.solve(gram, weighted @ missing)[None]
    weight = near.clone().requires_grad_()
    steps = torch.optim.LBFGS(
        [weight],
        max_iter=60,
        tolerance_grad=1e-7,
        tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        steps.zero_grad()
        with torch.enable_grad():
            far = (weight - start).square().sum() * penalty / 2
            loss = _loss(_scores(features, weight), target, weights, kind)
            total = (loss + far) / max(1, len(target))
            total.backward()
        return total

    steps.step(closure)
    return weight.detach()


def example() -> list[str]:
    """Two experts of a number, given weights."""
    model = Stack(2, 1, "number")
    model.weight.copy_(torch.tensor([[0.6, 0.3, 0.0, 0.2, 0.1]]))
    model.prior.fill_(0.5)
    outputs = torch.tensor([[[1.0], [2.0]]])
    both = model(outputs, torch.tensor([[True, True]])).item()
    alone = model(outputs, torch.tensor([[True, False]])).item()
    return [
        "image: y_1 = 1, text: y_2 = 2, prior 0.5, W = [0.6, 0.3, 0, 0.2, 0.1]",
        f"both present: 0.6 * 1 + 0.3 * 2 + 0 * 1 + 0.2 * 1 + 0.1 = {both:.2f}",
        f"text absent:  0.6 * 1 + 0.3 * 0.5 + 0 * 1 + 0.2 * 0 + 0.1 = {alone:.2f}",
    ]
