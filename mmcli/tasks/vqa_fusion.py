"""Any fusion of pooled vectors or tokens as the network of question answering.

The same call as `vqa_network.Votes`: tokens of distinct pictures and questions in, which of them
each row has, logits of answers out. Knows nothing about stores or training.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmcli.align.pair_model import Side
from mmcli.core.errors import UsageError
from mmcli.core.registry import suggestion
from mmcli.engine.torch_stack import load_torch
from mmcli.fusion.blueprint import Blueprint
from mmcli.fusion.network import build_network
from mmcli.fusion.registry import METHODS, FusionSpec, fusion_method

torch = load_torch()
nn = torch.nn

_VIEWS = ("pooled", "tokens")


@dataclass(frozen=True)
class FusedShape:
    """All that is needed to build the network again. method: a name of the fusion registry."""

    method: str
    image: Side
    text: Side
    n_answers: int
    width: int = 128
    dropout: float = 0.1
    noise: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "FusedShape":
        sides = {name: Side(**content[name]) for name in ("image", "text")}
        return cls(**{**content, **sides})


def fusion_of(words: str) -> FusionSpec:
    """The fusion of a name. Raises UsageError for one that does not read pictures and questions."""
    spec = fusion_method(words)
    if spec.experts or spec.view not in _VIEWS:
        able = [s.name for s in METHODS if not s.experts and s.view in _VIEWS]
        raise UsageError(
            f"`--method {spec.name}` does not answer questions", suggestion(spec.name, able)
        )
    return spec


class Fused(nn.Module):  # type: ignore[misc,name-defined]
    """Standardised tokens, or their means, into a fusion."""

    def __init__(self, shape: FusedShape) -> None:
        super().__init__()
        self.shape = shape
        self.spec = fusion_of(shape.method)
        self.names = ("image", "text")
        dims = {name: (getattr(shape, name).dim,) for name in self.names}
        for name in self.names:
            self.register_buffer(f"mean_{name}", torch.zeros(dims[name]))
            self.register_buffer(f"scale_{name}", torch.ones(dims[name]))
        tokens = frozenset(self.names) if self.spec.view == "tokens" else frozenset()
        blueprint = Blueprint(dims, shape.n_answers, shape.width, shape.dropout, sequences=tokens)
        self.network = build_network(self.spec, blueprint, "classes")

    @property
    def plain(self) -> frozenset[str]:
        """The parameters that are not decayed beside those of one axis."""
        return frozenset()

    def forward(
        self, x: Mapping[str, tuple[Any, Any]], picks: Mapping[str, Any] | None = None
    ) -> Any:
        """As `Votes.forward`."""
        rows = next(len(values) for values, _ in x.values())
        device = next(self.parameters()).device
        chosen = {name: torch.arange(rows, device=device) for name in x} | dict(picks or {})
        count = len(next(iter(chosen.values())))
        parts: dict[str, Any] = {}
        valid: dict[str, Any] = {}
        present = torch.zeros(count, len(self.names), dtype=torch.bool, device=device)
        for i, name in enumerate(self.names):
            side = getattr(self.shape, name)
            if name in x:
                values, real = x[name]
                here = chosen[name]
                present[:, i] = here >= 0
            else:
                values = torch.zeros(1, 1, side.dim, device=device)
                real = torch.ones(1, 1, dtype=torch.bool, device=device)
                here = torch.full((count,), -1, device=device)
            values = (values - getattr(self, f"mean_{name}")) / getattr(self, f"scale_{name}")
            real = real[here.clamp(min=0)] & present[:, i, None]
            values = values[here.clamp(min=0)] * real[..., None]
            if self.spec.view == "tokens":
                parts[name], valid[name] = values, real
            else:
                parts[name] = values.sum(1) / real.sum(1, keepdim=True).clamp(min=1)
        return self.network(parts, present, valid or None).output.float()

    def set_statistics(self, modality: str, mean: Any, scale: Any) -> None:
        """Mean and scale `(dim,)` of the tokens of `image` or `text`."""
        getattr(self, f"mean_{modality}").copy_(torch.as_tensor(mean))
        getattr(self, f"scale_{modality}").copy_(torch.as_tensor(scale))
