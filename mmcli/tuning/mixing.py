"""Mixup on embeddings: rows blended with other rows of their batch, and their targets with them.

Sources: Zhang et al. 2018, arXiv 1710.09412; on inner representations Verma et al. 2019,
arXiv 1806.05236. Knows nothing about networks or losses.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """Row i becomes share[i] times itself and 1 - share[i] times row order[i].

    order: int64 `(rows,)`. share: `(rows,)` in [0, 1].
    """

    order: Tensor
    share: Tensor

    def vectors(
        self, x: Mapping[str, Tensor], valid: Mapping[str, Tensor] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        """Blended vectors `(rows, dim)` or tokens `(rows, length, dim)` by name, and which tokens
        are real.

        Tokens are blended place by place; where only one of the two rows has a token there, it
        stays as it is. Presence stays as it is: rows are mixed with such as have the same parts.
        """
        blended: dict[str, Tensor] = {}
        real = dict(valid or {})
        for name, value in x.items():
            other = value[self.order]
            share = _beside(self.share, value)
            if name in real:
                own, theirs = real[name], real[name][self.order]
                weight = torch.where(own & theirs, share.squeeze(-1), own.to(share.dtype))
                share = weight[..., None]
                real[name] = own | theirs
            blended[name] = share * value + (1 - share) * other
        return blended, real if valid is not None else None

    def losses(self, own: Tensor, other: Tensor) -> Tensor:
        """`(rows,)` losses of the blended rows, from those against either target: the same as
        with soft targets for losses that are linear in them, as cross-entropy is.

        other: against the targets of the rows at `order`.
        """
        return self.share * own + (1 - self.share) * other


def draw(present: Tensor, alpha: float, generator: torch.Generator) -> Mixture:
    """Who is mixed with whom, and how much: shares from Beta(alpha, alpha), one a row.

    present: bool `(rows, modalities)`; partners are drawn among the rows that have the same parts,
    so that no vector is mixed with nothing. Equal generators give equal mixtures.
    """
    rows = len(present)
    seed = int(torch.randint(2**62, (), generator=generator))
    share = np.random.default_rng(seed).beta(alpha, alpha, rows)
    shuffled = torch.randperm(rows, generator=generator)
    _, pattern = torch.unique(present.cpu(), dim=0, return_inverse=True)
    order = torch.empty(rows, dtype=torch.int64)
    for kind in range(int(pattern.max()) + 1 if rows else 0):
        order[(pattern == kind).nonzero().squeeze(1)] = shuffled[pattern[shuffled] == kind]
    return Mixture(
        order.to(present.device), torch.from_numpy(share).to(present.device, torch.float32)
    )


def _beside(share: Tensor, value: Tensor) -> Tensor:
    """Shares shaped so that they multiply rows."""
    return share.reshape(-1, *[1] * (value.ndim - 1))
