"""The pieces that networks of fusion are made of: projection, perceptron, attention.

Everything works under `torch.func.vmap`, which is how several seeds train at once: no branch
depends on a value, nothing is changed in place.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmcli.fusion.blueprint import Blueprint
from mmcli.fusion.shared_linear import SharedLinear

#: What stands for minus infinity in a masked softmax: finite, so that no row can become NaN.
_NEVER = -1e4


class Perceptron(nn.Module):
    """Linear, GELU, dropout, Linear; hidden states and outputs of a batch `(batch, dim)`."""

    def __init__(self, dim: int, width: int, n_outputs: int, dropout: float) -> None:
        super().__init__()
        self.hidden = SharedLinear(dim, width)
        self.output = nn.Linear(width, n_outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.dropout(functional.gelu(self.hidden(x)))
        return hidden, self.output(hidden)


class Projections(nn.Module):
    """Each modality's vectors or tokens to one width; what is absent becomes zeros.

    Gives `(batch, width)` or `(batch, length, width)` a modality, whatever absent parts hold.
    """

    def __init__(self, blueprint: Blueprint, width: int | None = None) -> None:
        super().__init__()
        self.names = blueprint.modalities
        wide = width or blueprint.width
        self.maps = nn.ModuleList(SharedLinear(blueprint.dim(m), wide) for m in self.names)

    def forward(self, x: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        found = {}
        for i, (name, project) in enumerate(zip(self.names, self.maps, strict=True)):
            found[name] = masked(project(masked(x[name], present[:, i])), present[:, i])
        return found


class Attention(nn.Module):
    """Multi-head attention of queries `(batch, n, width)` to tokens `(batch, m, width)`.

    Source: Vaswani et al. 2017, arXiv 1706.03762.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.output = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, queries: Tensor, tokens: Tensor, real: Tensor) -> Tensor:
        """real: which tokens there are, bool `(batch, m)`; with none, their mean stands in."""
        q, k, v = (
            states.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for states in (self.query(queries), self.key(tokens), self.value(tokens))
        )
        scores = q @ k.transpose(-1, -2) / (q.shape[-1] ** 0.5)
        scores = torch.where(real[:, None, None, :], scores, _NEVER)
        mixed = scores.softmax(-1).to(v.dtype) @ v
        return self.output(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-norm Transformer layer: attention to `tokens`, or to itself, then a perceptron.

    Source: Xiong et al. 2020, arXiv 2002.04745, on where the norms stand.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, real: Tensor, tokens: Tensor | None = None) -> Tensor:
        """x `(batch, n, width)`; real: which of the tokens attended to there are, `(batch, m)`."""
        normed = self.before(x)
        source = normed if tokens is None else self.before(tokens)
        x = x + self.dropout(self.attention(normed, source, real))
        inner = functional.gelu(self.widen(self.after(x)))
        return x + self.dropout(self.narrow(inner))


class TokenEmbedding(nn.Module):
    """Every modality's tokens at one width: projection, a vector that names the modality, position.

    Gives tokens `(batch, length, width)` and which are real `(batch, length)` a modality. What
    comes pooled is one token without a position; what absent tokens and padding hold is not read.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.project = Projections(blueprint)
        # 0.02 is BERT's: small beside what the tokens themselves say.
        kinds = torch.randn(len(blueprint.modalities), blueprint.width) * 0.02
        self.kinds = nn.Parameter(kinds)

    def forward(
        self, x: Mapping[str, Tensor], present: Tensor, valid: Mapping[str, Tensor] | None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        states = self.project(without_padding(x, valid), present)
        found = {}
        for i, (name, (tokens, real)) in enumerate(token_streams(states, present, valid).items()):
            tokens = tokens + self.kinds[i]
            if x[name].dim() == 3:
                places = positions(tokens.shape[1], tokens.shape[2])
                tokens = tokens + places.to(tokens.device, tokens.dtype)
            found[name] = tokens, real
        return found


class ClassEncoder(nn.Module):
    """Blocks over tokens with a learned class token in front; gives its state `(batch, width)`.

    Source of the class token: Devlin et al. 2019 (BERT), arXiv 1810.04805.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        width, heads = blueprint.width, fitting_heads(blueprint.width, blueprint.heads)
        self.start = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(
            Block(width, heads, blueprint.dropout) for _ in range(blueprint.layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, real: Tensor) -> Tensor:
        """tokens `(batch, n, width)`; real: which there are, bool `(batch, n)`."""
        states = with_token(self.start, tokens)
        real = torch.cat([real.new_ones((len(real), 1)), real], dim=1)
        for block in self.blocks:
            states = block(states, real)
        return self.norm(states[:, 0])


def masked(values: Tensor, there: Tensor) -> Tensor:
    """Zeros where a row is not there, even if it holds NaN. there: bool `(batch,)`."""
    shape = (-1,) + (1,) * (values.dim() - 1)
    return torch.where(there.reshape(shape), values, torch.zeros((), dtype=values.dtype))


def token_streams(
    states: Mapping[str, Tensor], present: Tensor, valid: Mapping[str, Tensor] | None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Tokens `(batch, length, width)` and which are real `(batch, length)`, a modality.

    A pooled vector is one token. Of an absent part no token is real.
    """
    found = {}
    for i, (name, values) in enumerate(states.items()):
        tokens = values if values.dim() == 3 else values[:, None, :]
        there = present[:, i : i + 1]
        real = (valid or {}).get(name)
        found[name] = tokens, (there.expand(tokens.shape[:2]) if real is None else real & there)
    return found


def token_mean(tokens: Tensor, real: Tensor) -> Tensor:
    """The mean of the real tokens `(batch, width)`, zeros where there are none."""
    weights = real.to(tokens.dtype)
    total = (tokens * weights[..., None]).sum(1)
    return total / weights.sum(1, keepdim=True).clamp(min=1.0)


def wide(values: Tensor) -> Tensor:
    """In float32 at least: norms and moments want it where autocast made bfloat16."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def without_padding(
    x: Mapping[str, Tensor], valid: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    """The same parts with zeros for tokens that are padding, even if those hold NaN."""
    found = dict(x)
    for name, real in (valid or {}).items():
        zero = torch.zeros((), dtype=found[name].dtype)
        found[name] = torch.where(real[..., None], found[name], zero)
    return found


def pooled_parts(
    names: tuple[str, ...],
    x: Mapping[str, Tensor],
    present: Tensor,
    valid: Mapping[str, Tensor] | None,
) -> dict[str, Tensor]:
    """A vector `(batch, dim)` a modality: of tokens their mean, of an absent part zeros."""
    x = without_padding(x, valid)
    parts = {name: masked(x[name], present[:, i]) for i, name in enumerate(names)}
    streams = token_streams(parts, present, valid)
    return {m: token_mean(*streams[m]) if parts[m].dim() == 3 else parts[m] for m in names}


def with_token(token: Tensor, tokens: Tensor) -> Tensor:
    """`token` `(width,)` in front of every row of `tokens` `(batch, n, width)`."""
    return torch.cat([token.expand(len(tokens), 1, -1), tokens], dim=1)


def positions(length: int, width: int) -> Tensor:
    """Sinusoids of the place in a sequence, `(length, width)`: sines, then cosines.

    Source: Vaswani et al. 2017, arXiv 1706.03762, sec. 3.5.
    """
    half = (width + 1) // 2
    rates = 10_000.0 ** (-torch.arange(half) / half)
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]


def fitting_heads(width: int, heads: int) -> int:
    """The largest number of heads up to `heads` that divides `width`."""
    return next(n for n in range(max(1, min(heads, width)), 0, -1) if width % n == 0)


def blank(model: nn.Module) -> None:
    """Zero for every weight and 1 for every norm: where a worked example starts."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        else:
            for weight in module.parameters(recurse=False):
                nn.init.zeros_(weight)
    model.eval()


def no_penalty(output: Tensor) -> Tensor:
    """The penalty of a method that has none: a zero scalar."""
    return output.new_zeros(())
