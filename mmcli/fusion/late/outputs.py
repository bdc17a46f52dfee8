"""What combiners of experts share: outputs as log-probabilities and back, mixtures, priors.

An expert's outputs are those of a network of the same kind of label:

- classes: logits, a softmax over n_outputs; target int64 `(rows,)`;
- several: n_outputs logits of independent yes or no; target float `(rows, n_outputs)`;
- ordinal: n_outputs = K - 1 logits of P(y > k); target int64 `(rows,)`, 0 to K - 1;
- number: one number, standardised; target float `(rows,)`.

The first three are choices: `(…, groups, choices)` log-probabilities, one group of n_outputs
choices for classes, else n_outputs groups of no and yes. Knows nothing of single combiners.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

KINDS = ("classes", "several", "ordinal", "number")
#: Probabilities stay this far from 0 and 1 before their logarithm is taken.
LEAST = 1e-7


def checked(kind: str) -> str:
    """The kind. Raises ValueError for one that is none."""
    if kind not in KINDS:
        raise ValueError(f"kind is `{kind}`, not one of {', '.join(KINDS)}")
    return kind


def quiet(outputs: Tensor, present: Tensor) -> Tensor:
    """Outputs `(batch, modalities, n_outputs)`, zeros for absent experts whatever those hold."""
    zero = torch.zeros((), dtype=outputs.dtype, device=outputs.device)
    return torch.where(present[..., None], outputs, zero)


def choices(outputs: Tensor, kind: str, least: float = LEAST) -> Tensor:
    """Log-probabilities `(…, groups, choices)` of outputs `(…, n_outputs)`, at least log `least`.

    P(y > k) of an ordinal label never rises with k: a network's logits may, so a running minimum
    of them is taken.
    """
    if kind == "classes":
        logs = functional.log_softmax(outputs, dim=-1)[..., None, :]
    else:
        logits = outputs.cummin(-1).values if kind == "ordinal" else outputs
        logs = torch.stack([functional.logsigmoid(-logits), functional.logsigmoid(logits)], -1)
    return logs.clamp(min=math.log(least) if least else -math.inf)


def as_outputs(logs: Tensor, kind: str) -> Tensor:
    """Outputs `(…, n_outputs)` of log-probabilities `(…, groups, choices)`, the way back."""
    if kind == "classes":
        return logs.squeeze(-2)
    return logs[..., 1] - logs[..., 0]


def chosen(target: Tensor, n_outputs: int, kind: str) -> Tensor:
    """The target as shares of the choices, `(rows, groups, choices)`, float64."""
    if kind == "classes":
        return functional.one_hot(target.long(), n_outputs)[:, None, :].double()
    if kind == "ordinal":
        target = target[:, None] > torch.arange(n_outputs, device=target.device)
    yes = target.double().reshape(-1, n_outputs)
    return torch.stack([1 - yes, yes], dim=-1)


def prior_of(target: Tensor, n_outputs: int, kind: str) -> Tensor:
    """The outputs `(n_outputs,)` of who knows nothing: log shares, logits of shares, the mean.

    One is added to the count of every choice; of an ordinal label to the count of every level.
    """
    if kind == "number":
        return (target.double().sum() / max(1, len(target))).reshape(1)
    if kind == "ordinal":
        counts = torch.bincount(target.long(), minlength=n_outputs + 1).double() + 1
        above = counts.flip(0).cumsum(0).flip(0)[1:] / counts.sum()
        return above.log() - (1 - above).log()
    counts = chosen(target, n_outputs, kind).sum(0) + 1
    return as_outputs((counts / counts.sum(-1, keepdim=True)).log(), kind)


def blank_prior(n_outputs: int, kind: str) -> Tensor:
    """The prior before anything was fitted: all classes alike, even odds, or 0."""
    return torch.full((n_outputs,), -math.log(n_outputs) if kind == "classes" else 0.0)


def or_prior(output: Tensor, present: Tensor, prior: Tensor) -> Tensor:
    """The prior for rows with nothing present, else the output `(batch, n_outputs)`."""
    return torch.where(present.any(1, keepdim=True), output, prior.to(output.dtype))


def mixture(outputs: Tensor, present: Tensor, weights: Tensor, prior: Tensor, kind: str) -> Tensor:
    """Outputs `(batch, n_outputs)` of the mean, weighted by modality, of experts' probabilities.

    weights: `(modalities,)`, not negative; of the experts that are present they count in
    proportion, and all alike when each of them has none. Numbers are averaged themselves.
    """
    there = present * weights.clamp(min=1e-12)
    shares = there / there.sum(1, keepdim=True).clamp(min=1e-30)
    outputs = quiet(outputs, present)
    if kind == "number":
        return or_prior((shares[..., None] * outputs).sum(1), present, prior)
    mixed = (shares[..., None, None] * choices(outputs, kind).exp()).sum(1)
    return or_prior(as_outputs(mixed.clamp(min=LEAST).log(), kind), present, prior)
