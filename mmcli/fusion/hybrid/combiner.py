"""The combiners of the text-and-tabular toolkits: one main modality, changed by all others.

The main one is `text`, else the first that is not the tabular one. With g its projection and y_m
the projections of the others (P x + p, to one width; zeros where absent) the fused vector is

    gated sum:          g + alpha h,  h = sum_m relu(R_m [g; x_m] + r_m) * y_m
                        alpha = min(1, beta |g| / |h|), so that |alpha h| is at most beta |g|
    weighted sum:       g + sum_m w_m * y_m,  w_m a weight a dimension
    tabular attention:  a_g g + sum_m a_m y_m,  a_i = softmax_i(leaky_relu(s · [g; y_i]))

The first is the multimodal adaptation gate. Option `beta` is 1, as in its authors' program; the
toolkit has 0.2. Where the main modality is absent g is zeros and alpha is 1, for a shift bounded
by nothing would be nothing. The toolkit leaves the text as it is; here it is projected too, so that
the fused vector has the width asked for whatever is the main one. A perceptron gives the output.
Knows nothing about labels or columns.

Sources: Gu and Budhkar 2021, "A Package for Learning on Tabular and Text Data with Transformers",
MAI workshop at NAACL, table 1; Rahman et al. 2020, arXiv 1908.05787, sec. 3.1; the slope of the
leaky ReLU is that of Veličković et al. 2018, arXiv 1710.10903.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmcli.fusion.blueprint import Blueprint, Fused
from mmcli.fusion.layers import Perceptron, Projections, no_penalty, pooled_parts, wide


class GatedSum(nn.Module):
    """The main vector and a gated shift no longer than `beta` times it, `(batch, width)`."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.sides = _Sides(blueprint)
        width = blueprint.width
        self.gates = nn.ModuleList(
            nn.Linear(width + blueprint.dim(m), width) for m in self.sides.others
        )
        self.beta = float(blueprint.options.get("beta", 1.0))
        self.head = Perceptron(width, width, blueprint.n_outputs, blueprint.dropout)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        found = self.sides(x, present, valid)
        shifts = [torch.zeros_like(found.main)]
        for name, gate in zip(self.sides.others, self.gates, strict=True):
            opened = torch.relu(gate(torch.cat([found.main, found.vectors[name]], 1)))
            shifts.append(opened * found.others[name])
        shift = torch.stack(shifts).sum(0)
        bound = self.beta * _length(found.main) / _length(shift).clamp(min=1e-6)
        scale = torch.where(found.has_main[:, None], bound.clamp(max=1.0), 1.0)
        vector = found.main + scale.to(shift.dtype) * shift
        output = self.head(vector)[1]
        return Fused(vector, output, no_penalty(output))


class WeightedSum(nn.Module):
    """The main vector and the others', each dimension with its own weight, `(batch, width)`."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.sides = _Sides(blueprint)
        width = blueprint.width
        self.weights = nn.ParameterList(torch.ones(width) for _ in self.sides.others)
        self.head = Perceptron(width, width, blueprint.n_outputs, blueprint.dropout)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        found = self.sides(x, present, valid)
        vector = found.main
        for name, weight in zip(self.sides.others, self.weights, strict=True):
            vector = vector + weight * found.others[name]
        output = self.head(vector)[1]
        return Fused(vector, output, no_penalty(output))


class TabularAttention(nn.Module):
    """The mean of all projections, weighted by what the main one attends to, `(batch, width)`."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.sides = _Sides(blueprint)
        width = blueprint.width
        self.score = nn.Linear(2 * width, 1, bias=False)
        self.head = Perceptron(width, width, blueprint.n_outputs, blueprint.dropout)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        found = self.sides(x, present, valid)
        states = {self.sides.main: found.main, **found.others}
        values = torch.stack([states[name] for name in self.sides.names], 1)
        pairs = torch.cat([found.main[:, None].expand_as(values), values], 2)
        scores = wide(functional.leaky_relu(self.score(pairs)[..., 0], 0.2))
        # finite, so that a row with nothing present has equal weights, and zeros to weigh
        scores = torch.where(present, scores, torch.finfo(scores.dtype).min)
        vector = (scores.softmax(1).to(values.dtype)[..., None] * values).sum(1)
        output = self.head(vector)[1]
        return Fused(vector, output, no_penalty(output))


class _Found(NamedTuple):
    """The main projection, whether a row has it, the others' projections, all as they came."""

    main: Tensor
    has_main: Tensor
    others: dict[str, Tensor]
    vectors: dict[str, Tensor]


class _Sides(nn.Module):
    """Which modality is the main one, and everyone's projection to one width."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.names = blueprint.modalities
        self.main = main_of(blueprint)
        self.others = tuple(name for name in self.names if name != self.main)
        self.states = Projections(blueprint)

    def forward(
        self, x: Mapping[str, Tensor], present: Tensor, valid: Mapping[str, Tensor] | None
    ) -> _Found:
        vectors = pooled_parts(self.names, x, present, valid)
        states = self.states(vectors, present)
        main = states[self.main]
        has_main = present[:, self.names.index(self.main)]
        return _Found(main, has_main, {name: states[name] for name in self.others}, vectors)


def main_of(blueprint: Blueprint) -> str:
    """The modality that the others change: `text`, else the first not tabular, else the first."""
    names = blueprint.modalities
    if "text" in names:
        return "text"
    return next((name for name in names if name != blueprint.tabular), names[0])


def _length(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(wide(vectors), dim=1, keepdim=True)


def example_gated_sum() -> list[str]:
    """A text of width 2 kept as it is and a column, gated and added."""
    model = GatedSum(_tiny({"beta": 0.5}))
    with torch.no_grad():
        _set(model.sides, [[1.0], [1.0]], [4.0, 0.0])
        model.gates[0].weight.copy_(torch.tensor([[0.0, 0.0, 1.5], [1.0, -1.0, 0.0]]))
        model.gates[0].bias.zero_()
        both, alone = _both_and_alone(model)
    return [
        "text g = [3, 4], tabular x = 2, y = [1, 1] x + [4, 0] = [6, 2], beta = 0.5",
        "gate: relu([1.5 x, g_1 - g_2]) = relu([3, -1]) = [3, 0]; h = [3, 0] * [6, 2] = [18, 0]",
        "alpha = min(1, 0.5 * |g| / |h|) = 0.5 * 5 / 18 = 0.1389",
        f"both present:    [3, 4] + 0.1389 * [18, 0] = {both}",
        f"tabular absent:  {alone}",
    ]


def example_weighted_sum() -> list[str]:
    """A text of width 2 kept as it is and a column, weighted a dimension and added."""
    model = WeightedSum(_tiny({}))
    with torch.no_grad():
        _set(model.sides, [[1.0], [-1.0]], [0.0, 1.0])
        model.weights[0].copy_(torch.tensor([0.5, 3.0]))
        both, alone = _both_and_alone(model)
    return [
        "text g = [3, 4], tabular x = 2, y = [1, -1] x + [0, 1] = [2, -1], w = [0.5, 3]",
        f"both present:    [3 + 0.5 * 2, 4 + 3 * -1] = {both}",
        f"tabular absent:  {alone}",
    ]


def example_tabular_attention() -> list[str]:
    """A text of width 2 kept as it is and a column, averaged by attention."""
    model = TabularAttention(_tiny({}))
    with torch.no_grad():
        _set(model.sides, [[1.0], [0.0]], [3.0, 0.0])
        model.score.weight.copy_(torch.tensor([[0.0, 0.0, 0.5493061, 0.0]]))
        both, alone = _both_and_alone(model)
    return [
        "text g = [3, 4], tabular x = 2, y = [1, 0] x + [3, 0] = [5, 0]",
        "s · [g; y_i] = (ln 3 / 2) y_i1: 1.6479 of the text, 2.7465 of the tabular",
        "softmax of 3 ln 3 / 2 and 5 ln 3 / 2: 0.25 and 0.75",
        f"both present:    0.25 * [3, 4] + 0.75 * [5, 0] = {both}",
        f"tabular absent:  {alone}",
    ]


def _tiny(options: dict[str, float]) -> Blueprint:
    dims = {"text": (2,), "tabular": (1,)}
    return Blueprint(dims, n_outputs=1, width=2, tabular="tabular", options=options)


def _set(sides: _Sides, weight: list[list[float]], bias: list[float]) -> None:
    text, tabular = sides.states.maps
    text.weight.copy_(torch.eye(2))
    text.bias.zero_()
    tabular.weight.copy_(torch.tensor(weight))
    tabular.bias.copy_(torch.tensor(bias))


def _both_and_alone(model: nn.Module) -> tuple[str, str]:
    x = {"text": torch.tensor([[3.0, 4.0]]), "tabular": torch.tensor([[2.0]])}
    found = [model(x, torch.tensor([[True, there]])).vector[0] for there in (True, False)]
    both, alone = ("[" + ", ".join(f"{v:.4g}" for v in row.tolist()) + "]" for row in found)
    return both, alone
