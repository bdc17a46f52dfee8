"""Outputs of experts that know something of a target, for tests of what combines them."""

import torch
from torch import Tensor, nn

#: Outputs of a combiner of each kind in these tests: three classes, labels, thresholds; a number.
SIZES = {"classes": 3, "several": 3, "ordinal": 3, "number": 1}


def fit_rows(kind: str, rows: int = 60, modalities: int = 2, seed: int = 0) -> tuple[Tensor, ...]:
    """Outputs of experts that know something, the less the later; who is present; targets."""
    made = torch.Generator().manual_seed(seed)
    size = SIZES[kind]
    noise = torch.randn(rows, modalities, size, generator=made)
    noise = noise * (1 + torch.arange(modalities))[None, :, None]
    present = torch.rand(rows, modalities, generator=made) > 0.3
    if kind == "number":
        target = torch.randn(rows, generator=made)
        return target[:, None, None] + noise, present, target
    if kind == "several":
        target = (torch.rand(rows, size, generator=made) > 0.6).float()
        return (2 * target - 1)[:, None] + noise, present, target
    target = torch.randint(0, size + (kind == "ordinal"), (rows,), generator=made)
    if kind == "classes":
        return nn.functional.one_hot(target, size)[:, None] * 2 + noise, present, target
    levels = torch.arange(size) + 0.5
    return (target[:, None] - levels)[:, None] + noise[..., :1], present, target
