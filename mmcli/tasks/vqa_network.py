"""The network of closed-vocabulary question answering: every patch of a picture votes for answers.

    logit_a = L_p(s <u_a(q), v_p>) + g_a(q) L_p(s <m(q), v_p>) + b_a,   L_p(x) = log sum_p exp(x_p)
    u_a(q) = norm(U gelu(E_a * (1 + G q) + B q)),   m(q) = norm(M q)

v_p are unit vectors of the picture's patches with their places, q is the mean of the question's
tokens, E_a a vector of each answer. So an answer of a question looks for one patch that shows it
(late interaction: Yao et al. 2021, arXiv 2111.07783; the question scales and shifts what is looked
for: Perez et al. 2017, arXiv 1709.07871), the soft maximum lets every patch learn (Pinheiro and
Collobert 2015, arXiv 1411.6228), and the second term says how well the question itself is met,
which is what yes and no hang on. Knows nothing about stores or training.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmcli.align.pair_model import MOST_SCALE, PairShape, Reader, Side
from mmcli.engine.torch_stack import load_torch

torch = load_torch()
nn, functional = torch.nn, torch.nn.functional

#: The inverse temperature of the votes when training begins.
FIRST_SCALE = 15.0
#: Tokens of each modality, `(entries, length, dim)`, and which of them are real.
Tokens = Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True)
class VotesShape:
    """All that is needed to build the network again.

    image, text: what is read of either. width: of the readers. dim: of the vectors that are
    compared. noise: added to standardised patches in training, in deviations; it keeps the network
    from learning single pictures by heart.
    """

    image: Side
    text: Side
    n_answers: int
    width: int = 64
    dim: int = 64
    heads: int = 4
    dropout: float = 0.1
    noise: float = 0.7

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "VotesShape":
        sides = {name: Side(**content[name]) for name in ("image", "text")}
        return cls(**{**content, **sides})


class Votes(nn.Module):  # type: ignore[misc,name-defined]
    """Readers of both modalities, and the vectors of the answers."""

    def __init__(self, shape: VotesShape) -> None:
        super().__init__()
        self.shape = shape
        width, dim, answers = shape.width, shape.dim, shape.n_answers
        sizes = PairShape((shape.image, shape.text), width, dim, 0, shape.heads)
        self.image = Reader(shape.image, sizes, shape.dropout)
        self.text = Reader(shape.text, sizes, shape.dropout)
        self.text.shared = nn.Identity()  # only patches are compared, words as a whole
        self.norm = nn.LayerNorm(width)
        self.answers = nn.Parameter(0.5 * torch.randn(answers, width))
        self.scales, self.shifts = nn.Linear(width, width), nn.Linear(width, width)
        self.look, self.match = nn.Linear(width, dim), nn.Linear(width, dim)
        self.gate = nn.Linear(width, answers)
        self.bias = nn.Parameter(torch.zeros(answers))
        self.log_scale = nn.Parameter(torch.tensor(FIRST_SCALE).log())
        self.no_picture = nn.Parameter(torch.randn(dim))
        self.no_question = nn.Parameter(torch.zeros(width))

    @property
    def plain(self) -> frozenset[str]:
        """The parameters that are not decayed."""
        free = ("row", "column", "place", "answers", "no_picture", "no_question")
        named = (name for name, _ in self.named_parameters())
        return frozenset(name for name in named if name.rpartition(".")[2] in free)

    def forward(self, x: Tokens, picks: Mapping[str, Any] | None = None) -> Any:
        """Logits `(rows, answers)`.

        x: tokens of `image` and `text`; a modality that is not there is absent from every row.
        picks: of each modality which entry each row has, int64 `(rows,)`, -1 where it has none;
        without them row i has the i-th of both.
        """
        rows = next(len(values) for values, _ in x.values())
        chosen = {n: torch.arange(rows, device=values.device) for n, (values, _) in x.items()}
        chosen |= picks or {}
        question = self._questions(x.get("text"))
        patches, real = self._patches(x.get("image"))
        whole = next(iter(chosen.values()))
        of_text = chosen["text"] if "text" in x else torch.full_like(whole, -1)
        of_image = chosen["image"] if "image" in x else torch.full_like(whole, -1)
        wanted = (
            self.answers * (1 + self.scales(question))[:, None] + self.shifts(question)[:, None]
        )
        looks = functional.normalize(self.look(functional.gelu(wanted)).float(), dim=-1)
        match = functional.normalize(self.match(question).float(), dim=-1)
        seen, there = patches[of_image], real[of_image]
        shown = self._soft_best(looks[of_text], seen, there)
        met = self._soft_best(match[of_text][:, None], seen, there)
        return shown + self.gate(question).float()[of_text] * met + self.bias

    def _questions(self, x: tuple[Any, Any] | None) -> Any:
        """`(questions + 1, width)`: the last is that of no question."""
        blank = self.no_question[None]
        if x is None:
            return blank
        values, real = x
        states = self.text(values, real)
        mean = (states * real[..., None]).sum(1) / real.sum(1, keepdim=True).clamp(min=1)
        return torch.cat([self.norm(mean), blank.to(mean.dtype)])

    def _patches(self, x: tuple[Any, Any] | None) -> tuple[Any, Any]:
        """Unit vectors `(pictures + 1, patches, dim)`, of which the last are of no picture."""
        blank = functional.normalize(self.no_picture.float(), dim=-1)[None, None]
        if x is None:
            return blank, torch.ones(1, 1, dtype=torch.bool, device=blank.device)
        values, real = x
        if self.training and self.shape.noise:
            values = values + self.shape.noise * self.image.scale * torch.randn_like(values)
        vectors = self.image.tokens(self.image(values, real))
        none = torch.zeros_like(real[:1])
        none[:, 0] = True
        return torch.cat([vectors, blank.expand(1, vectors.shape[1], -1)]), torch.cat([real, none])

    def _soft_best(self, looks: Any, patches: Any, real: Any) -> Any:
        """`(rows, looks)` soft maxima over the patches of scaled products."""
        scale = self.log_scale.exp().clamp(max=MOST_SCALE)
        likeness = scale * (looks @ patches.transpose(1, 2))
        return likeness.masked_fill(~real[:, None], -torch.inf).logsumexp(-1)

    def set_statistics(self, modality: str, mean: Any, scale: Any) -> None:
        """Mean and scale `(dim,)` of the tokens of `image` or `text`."""
        reader = self.image if modality == "image" else self.text
        reader.mean.copy_(torch.as_tensor(mean))
        reader.scale.copy_(torch.as_tensor(scale))
