"""A linear layer that is one product for all the seeds that read the same batch.

Under `torch.func.vmap` over weights, `nn.Linear` becomes as many products as there are members and
reads the batch once for each; here their weights stand side by side in one. Elsewhere it is
`nn.Linear`. Knows nothing about fusion.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class SharedLinear(nn.Linear):
    """`x W^T + b` of `(..., dim)`, in one product where `x` is common to all members of a vmap."""

    def forward(self, input: Tensor) -> Tensor:
        return _SharedProduct.apply(input, self.weight) + self.bias


class _SharedProduct(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return functional.linear(x, weight)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        context.save_for_backward(*inputs)

    @staticmethod
    def backward(context: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = context.saved_tensors
        to_x = grad.to(weight.dtype) @ weight if context.needs_input_grad[0] else None
        to_weight = None
        if context.needs_input_grad[1]:
            rows = grad.flatten(0, -2).to(x.dtype)
            to_weight = (rows.transpose(0, 1) @ x.flatten(0, -2)).to(weight.dtype)
        return None if to_x is None else to_x.to(x.dtype), to_weight

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, int | None], x: Tensor, weight: Tensor
    ) -> tuple[Tensor, int]:
        """members in front of `weight`; the result has them where the product leaves them."""
        x_at, weight_at = in_dims
        if weight_at is None:
            assert x_at is not None
            return functional.linear(x.movedim(x_at, 0), weight), 0
        stacked = weight.movedim(weight_at, 0)
        if x_at is None:
            members = stacked.shape[0]
            product = functional.linear(x, stacked.flatten(0, 1))
            return product.unflatten(-1, (members, -1)), product.dim() - 1
        rows = x.movedim(x_at, 0)
        flat = rows.flatten(1, -2) if rows.dim() > 2 else rows[:, None]
        product = torch.bmm(flat, stacked.transpose(1, 2))
        return product.reshape(*rows.shape[:-1], -1), 0
