"""A model that scores pairs of token sequences: each side alone, then each looking at the other.

    score(a, b) = s · late(a, b) + head(cross(a, b))

`late` is the similarity of projected tokens, each with the best of the other side (FILIP, Yao et
al. 2021, arXiv 2111.07783); `cross` are stacked layers of attention both ways, softmax(QK'/√d) V
with queries of one side and keys of the other (LXMERT, Tan & Bansal 2019, arXiv 1908.07490), whose
head starts at zero: training begins at what the tokens say by themselves, and corrects it.
Knows nothing about training or stores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.engine.torch_stack import load_torch

torch = load_torch()
nn, functional = torch.nn, torch.nn.functional

#: Similarities held at a time: 64 MB in fp32; more are computed again for the gradient.
CHUNK_SIMILARITIES = 1 << 24
#: Largest factor of `late`, as that of a contrastive loss.
MOST_SCALE = 100.0


@dataclass(frozen=True)
class Side:
    """One modality: its key, the width of its tokens, the most of them, a grid's side or 0."""

    name: str
    key: str
    dim: int
    length: int
    grid: int = 0


@dataclass(frozen=True)
class PairShape:
    """All that is needed to build the model again.

    width: of the layers. dim: of the projected tokens that `late` compares.
    """

    sides: tuple[Side, Side]
    width: int = 128
    dim: int = 64
    layers: int = 2
    heads: int = 4

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "PairShape":
        first, second = (Side(**side) for side in content["sides"])
        return cls(**{**content, "sides": (first, second)})


class Attention(nn.Module):  # type: ignore[misc,name-defined]
    """Multi-head attention of a side to itself or to the other, added to what came in."""

    def __init__(self, width: int, heads: int, dropout: float, cross: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.norm_other = nn.LayerNorm(width) if cross else None
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out, self.dropout = nn.Linear(width, width), nn.Dropout(dropout)

    def forward(self, x: Any, real: Any, other: Any = None) -> tuple[Any, Any]:
        """The new `(batch, length, width)` and the weights `(batch, heads, length, others)`.

        real: which tokens are looked at, those of `other` where it is given.
        """
        h = self.norm(x)
        looked_at = h if other is None else self.norm_other(other)
        batch, length, width = h.shape
        query = self.query(h).view(batch, length, self.heads, -1).transpose(1, 2)
        shape = (batch, looked_at.shape[1], 2, self.heads, -1)
        key, value = self.key_value(looked_at).view(shape).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        weights = scores.masked_fill(~real[:, None, None], -torch.inf).softmax(-1)
        found = (weights.to(value.dtype) @ value).transpose(1, 2).reshape(batch, length, width)
        return x + self.dropout(self.out(found)), weights


class Feed(nn.Module):  # type: ignore[misc,name-defined]
    """Two layers on each token by itself, added to what came in."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Any) -> Any:
        return x + self.dropout(self.outer(functional.gelu(self.inner(self.norm(x)))))


class Reader(nn.Module):  # type: ignore[misc,name-defined]
    """One side by itself: standardised tokens, projected, placed, seeing each other once."""

    def __init__(self, side: Side, shape: PairShape, dropout: float) -> None:
        super().__init__()
        self.side = side
        self.register_buffer("mean", torch.zeros(side.dim))
        self.register_buffer("scale", torch.ones(side.dim))
        self.project = nn.Linear(side.dim, shape.width)
        # without places "a left of b" cannot be told from "b left of a"; a grid's are the sum of
        # a row's and a column's, so that few pictures teach them
        if side.grid:
            self.row = nn.Parameter(0.3 * torch.randn(side.grid, 1, shape.width))
            self.column = nn.Parameter(0.3 * torch.randn(1, side.grid, shape.width))
        else:
            self.place = nn.Parameter(0.1 * torch.randn(side.length, shape.width))
        self.attention = Attention(shape.width, shape.heads, dropout, cross=False)
        self.feed = Feed(shape.width, dropout)
        self.shared = nn.Linear(shape.width, shape.dim)

    def forward(self, values: Any, real: Any) -> Any:
        """`(batch, length, width)` of raw tokens `(batch, length, dim)`."""
        x = self.project((values - self.mean) / self.scale) + self._places(values.shape[1])
        return self.feed(self.attention(x, real)[0])

    def _places(self, length: int) -> Any:
        side = self.side
        if not side.grid:
            return self.place[torch.arange(length).clamp(max=side.length - 1)]
        if length != side.grid**2:
            raise BadInput(
                f"{side.name} of {length} patches: the aligner was trained on {side.grid**2}",
                "extract them the same way",
            )
        return (self.row + self.column).flatten(0, 1)

    def tokens(self, x: Any) -> Any:
        """Unit vectors `(batch, length, dim)` in the space that both sides share, in fp32."""
        return functional.normalize(self.shared(x).float(), dim=-1)


class Cross(nn.Module):  # type: ignore[misc,name-defined]
    """Each side looks at the other as it was, then thinks."""

    def __init__(self, shape: PairShape, dropout: float) -> None:
        super().__init__()
        self.looks = nn.ModuleList(
            Attention(shape.width, shape.heads, dropout, cross=True) for _ in range(2)
        )
        self.feeds = nn.ModuleList(Feed(shape.width, dropout) for _ in range(2))

    def forward(self, x: Any, real_x: Any, y: Any, real_y: Any) -> tuple[Any, Any, Any, Any]:
        """Both sides anew, and the weights of each look."""
        new_x, from_x = self.looks[0](x, real_y, y)
        new_y, from_y = self.looks[1](y, real_x, x)
        return self.feeds[0](new_x), self.feeds[1](new_y), from_x, from_y


class PairModel(nn.Module):  # type: ignore[misc,name-defined]
    """The readers of both sides, the layers between them, and the head."""

    def __init__(self, shape: PairShape, dropout: float = 0.0, temperature: float = 0.07) -> None:
        super().__init__()
        self.shape = shape
        self.readers = nn.ModuleList(Reader(side, shape, dropout) for side in shape.sides)
        self.cross = nn.ModuleList(Cross(shape, dropout) for _ in range(shape.layers))
        self.norms = nn.ModuleList(nn.LayerNorm(shape.width) for _ in range(2))
        self.heads = nn.ModuleList(nn.Linear(shape.width, 1, bias=False) for _ in range(2))
        for head in self.heads:
            nn.init.zeros_(head.weight)
        self.log_scale = nn.Parameter(torch.tensor(1 / temperature).log())

    def scale(self) -> Any:
        """The inverse temperature, at most 100."""
        return self.log_scale.exp().clamp(max=MOST_SCALE)

    def read(self, number: int, values: Any, real: Any) -> Any:
        """One side by itself; what `match` and `late` take."""
        return self.readers[number](values, real)

    def match(self, x: Any, real_x: Any, y: Any, real_y: Any) -> tuple[Any, list[tuple[Any, Any]]]:
        """Scores `(batch,)` of row i of one side with row i of the other; each layer's weights.

        The weights are `(batch, heads, tokens, tokens of the other side)`, of the first side's
        look and of the second's.
        """
        u, v = self.readers[0].tokens(x), self.readers[1].tokens(y)
        likeness = (u @ v.transpose(1, 2)).float()
        base = _best_means(likeness, real_x, real_y)
        weights = []
        for layer in self.cross:
            x, y, from_x, from_y = layer(x, real_x, y, real_y)
            weights.append((from_x, from_y))
        found = [
            _mean(head(norm(tokens)).squeeze(-1).float(), real)
            for head, norm, tokens, real in zip(
                self.heads, self.norms, (x, y), (real_x, real_y), strict=True
            )
        ]
        return self.scale() * base + found[0] + found[1], weights

    def late(self, x: Any, real_x: Any, y: Any, real_y: Any) -> Any:
        """`(rows of x, rows of y)`: how alike their tokens are, every row with every other.

        In chunks of rows of x; with several of them each is computed again for the gradient.
        """
        u, v = self.readers[0].tokens(x), self.readers[1].tokens(y)
        size = max(1, CHUNK_SIMILARITIES // (u.shape[1] * v.shape[0] * v.shape[1]))
        if size >= len(u):
            return _late(u, real_x, v, real_y)
        parts = [
            torch.utils.checkpoint.checkpoint(
                _late, u[i : i + size], real_x[i : i + size], v, real_y, use_reentrant=False
            )
            for i in range(0, len(u), size)
        ]
        return torch.cat(parts)


def _late(u: Any, real_u: Any, v: Any, real_v: Any) -> Any:
    rows, length, dim = u.shape
    others, other_length, _ = v.shape
    likeness = (u.reshape(-1, dim) @ v.reshape(-1, dim).T).float()
    likeness = likeness.view(rows, length, others, other_length).transpose(1, 2)
    return _best_means(likeness, real_u[:, None], real_v[None])


def _best_means(likeness: Any, real_x: Any, real_y: Any) -> Any:
    """Mean over tokens of their best on the other side, of both ways.

    likeness: `(…, tokens, tokens of the other side)`.
    """
    forth = likeness.masked_fill(~real_y.unsqueeze(-2), -2.0).amax(-1)
    back = likeness.masked_fill(~real_x.unsqueeze(-1), -2.0).amax(-2)
    return (_mean(forth, real_x) + _mean(back, real_y)) / 2


def _mean(values: Any, real: Any) -> Any:
    """Mean over the real tokens, the last axis."""
    return (values * real).sum(-1) / real.sum(-1)


def set_statistics(model: PairModel, statistics: Sequence[tuple[Any, Any]]) -> None:
    """Give each reader the mean and scale `(dim,)` of its tokens."""
    for reader, (mean, scale) in zip(model.readers, statistics, strict=True):
        reader.mean.copy_(torch.as_tensor(mean))
        reader.scale.copy_(torch.as_tensor(scale))
