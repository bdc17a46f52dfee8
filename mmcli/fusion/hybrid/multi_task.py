"""Multi-task fusion: every modality predicts by itself beside what all of them predict together.

    s_m = gelu(W_m x_m + a_m)                              the subnet of a modality, for both tasks
    t_m = gelu(U_m s_m + b_m),           y_m = v_m t_m + c_m          its own head
    h   = gelu(U [s_1; …; s_M] + b),     y   = v h + c                the head of all

An absent x_m is zeros, and its s_m is zeros. The fused vector is h. The outputs y_m learn labels of
the modalities by themselves where there are such (`fusion/own_labels.py`), and through the subnets
the fused output learns from them too; without such labels they are not trained, and what is left is
late fusion of hidden states. The paper's subnet of the words is an LSTM; here a subnet reads a
vector, or the mean of tokens. Knows nothing about labels.

Source: Yu, Xu, Meng, Zhu, Ma, Wu, Zou and Yang 2020, ACL 2020.acl-main.343, sec. 4 (MLF-DNN).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmcli.fusion.blueprint import Blueprint, Parted
from mmcli.fusion.layers import Perceptron, Projections, blank, no_penalty, pooled_parts


class MultiTask(nn.Module):
    """Subnets, a head on all of them and one on each; the fused vector is `(batch, width)`."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.names = blueprint.modalities
        width, n_outputs, dropout = blueprint.width, blueprint.n_outputs, blueprint.dropout
        self.subnets = Projections(blueprint)
        self.dropout = nn.Dropout(dropout)
        self.head = Perceptron(len(self.names) * width, width, n_outputs, dropout)
        self.own = nn.ModuleList(Perceptron(width, width, n_outputs, dropout) for _ in self.names)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Parted:
        projected = self.subnets(pooled_parts(self.names, x, present, valid), present)
        shared = [self.dropout(functional.gelu(projected[name])) for name in self.names]
        vector, output = self.head(torch.cat(shared, 1))
        said = [head(state) for head, state in zip(self.own, shared, strict=True)]
        states = torch.stack([state for state, _ in said], 1)
        parts = torch.stack([own for _, own in said], 1)
        return Parted(vector, output, no_penalty(output), parts, states)


def example() -> list[str]:
    """Two modalities of width 1 with given weights: the fused output and each one's own."""
    model = MultiTask(Blueprint({"image": (1,), "text": (1,)}, n_outputs=1, width=1))
    blank(model)
    with torch.no_grad():
        for linear, weight in zip(model.subnets.maps, (1.0, 2.0), strict=True):
            linear.weight.fill_(weight)
        model.head.hidden.weight.copy_(torch.tensor([[1.0, 1.0]]))
        model.head.output.weight.fill_(1.0)
        for head, weight in zip(model.own, (1.0, -1.0), strict=True):
            head.hidden.weight.fill_(1.0)
            head.output.weight.fill_(weight)
        x = {"image": torch.tensor([[1.0]]), "text": torch.tensor([[-1.0]])}
        both = model(x, torch.tensor([[True, True]]))
        alone = model(x, torch.tensor([[True, False]]))
    own = both.parts[0, :, 0].tolist()
    return [
        "image = 1, text = -1, W_image = 1, W_text = 2, U = [1, 1], U_m = 1, v = 1, v_m = 1 and -1",
        "s_image = gelu(1) = 0.8413, s_text = gelu(-2) = -0.0455",
        f"both present:  y = gelu(0.8413 - 0.0455) = {both.output.item():.4f}",
        f"by themselves: y_image = gelu(0.8413) = {own[0]:.4f}, "
        f"y_text = -gelu(-0.0455) = {own[1]:.4f}",
        f"text absent:   y = gelu(0.8413) = {alone.output.item():.4f}",
    ]
