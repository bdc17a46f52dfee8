"""Two towers that meet in one space, and what else is learned from pairs: the network.

A tower is what frozen or tuned encoders say of a part, and a projection head on it. `Joint` reads
both towers' vectors together: it tells own partners from others and gives back what was hidden.
Knows nothing about files, batches or epochs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmcli.align import losses
from mmcli.align.torch_tower import TorchTower, unit
from mmcli.align.tower import Tower as Head
from mmcli.core.types import Encoder, Prepared
from mmcli.tasks.towers import Tower

#: Below this a square root passes no gradient on: at zero it would have no end.
LEAST_ROOT = 1e-4

Vectors = Mapping[str, Tensor]


class Projection(TorchTower):
    """A tower's head whose inputs may learn: its square roots have a gradient everywhere."""

    def _input(self, branch: Any, inputs: Vectors, prepared: bool) -> Any:
        found = []
        for key in branch.keys:
            x = inputs[key]
            for step in () if prepared else branch.prepare:
                x = signed_root(x) if step == "sqrt" else unit(x)
            found.append(x)
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)


def signed_root(x: Tensor) -> Tensor:
    """sign(x) · sqrt|x|; where |x| is below 1e-4 the gradient is zero."""
    exact = x.sign() * x.abs().sqrt()
    if not x.requires_grad:
        return exact
    bounded = x.sign() * x.abs().clamp_min(LEAST_ROOT).sqrt()
    return exact.detach() + (bounded - bounded.detach())  # exactly zero, with a gradient


class LiveTower(Tower):
    """The network of the encoders of one modality that share a trunk, while it learns.

    lead: the encoder whose network is tuned. readers: the encoders that read its features, by key;
    what they read them with is their own and stays as it is.
    """

    def __init__(self, lead: Encoder, readers: Mapping[str, Encoder]) -> None:
        super().__init__(lead)
        self.readers = [dict(readers)]  # in a list, so that nothing of them is registered

    def forward(self, rows: Sequence[Prepared]) -> dict[str, Tensor]:  # type: ignore[override]
        """Pooled vectors `(rows, dim)` a key, in order."""
        with self.precision():
            features = self.features(rows)
            return {key: r.head(features).pooled.float() for key, r in self.readers[0].items()}


class Joint(nn.Module):
    """A small head that reads both vectors of a pair.

    dim: of the shared space. widths: of what is given back, by modality. The state is a perceptron
    of both vectors, their product and distance in each coordinate, and their cosine.
    """

    def __init__(
        self, dim: int, widths: Mapping[str, int], hidden: int = 256, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.gain = float(np.sqrt(dim))  # coordinates of unit vectors are small
        self.mix = nn.Sequential(nn.Linear(4 * dim + 1, hidden), nn.GELU(), nn.Dropout(dropout))
        self.match = nn.Linear(hidden, 1)
        self.instead = nn.ParameterDict({name: torch.zeros(dim) for name in widths})
        self.restore = nn.ModuleDict({name: nn.Linear(hidden, w) for name, w in widths.items()})

    def state(self, a: Tensor, b: Tensor) -> Tensor:
        """`(rows, hidden)` of two `(rows, dim)`."""
        a, b = self.gain * a, self.gain * b
        cosine = (a * b).sum(dim=1, keepdim=True) / self.gain
        return self.mix(torch.cat([a, b, a * b, (a - b).abs(), cosine], dim=1))

    def matches(self, a: Tensor, b: Tensor) -> Tensor:
        """Logits `(rows,)` that two vectors belong together."""
        return self.match(self.state(a, b)).squeeze(1).float()

    def hidden(self, a: Tensor, b: Tensor, name: str, first: bool) -> Tensor:
        """What the encoders said of a modality, standardised `(rows, width)`, from the other's
        vector alone. first: whether `a` is the one that is hidden."""
        blank = self.instead[name].expand(len(a), -1)
        state = self.state(blank, b) if first else self.state(a, blank)
        return self.restore[name](state).float()


class PairNetwork(nn.Module):
    """Projection heads, the inverse temperature, and where they are wanted live towers and `Joint`.

    heads: as `align/towers_to_train.py` begins them, the first modality first; trained: numbers of
    their branches that learn.
    """

    def __init__(
        self,
        heads: Mapping[str, Head],
        trained: Mapping[str, frozenset[int]],
        *,
        dropout: float = 0.0,
        temperature: float = 0.07,
        joint: Joint | None = None,
        live: Mapping[str, LiveTower] | None = None,
    ) -> None:
        super().__init__()
        self.names = tuple(heads)
        self.heads = nn.ModuleDict(
            {name: Projection(head, trained[name], dropout) for name, head in heads.items()}
        )
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(1 / temperature))))
        self.joint = joint
        self.live = nn.ModuleDict(dict(live or {}))

    def forward(self, x: Mapping[str, Vectors]) -> tuple[Tensor, Tensor]:
        """Unit vectors `(rows, dim)` of both modalities, from vectors by key."""
        first, second = (self.heads[name](x[name]) for name in self.names)
        return first, second

    def scale(self) -> Tensor:
        """The inverse temperature, at most 100."""
        return self.log_scale.exp().clamp(max=losses.MOST_SCALE)

    def finished(self) -> dict[str, Head]:
        """The heads as they are now, in numpy."""
        heads: Mapping[str, Any] = dict(self.heads.items())
        return {name: head.finished() for name, head in heads.items()}

    def computed(self, name: str) -> Mapping[str, Encoder]:
        """The encoders whose vectors of a modality are computed anew, by key."""
        if name not in self.live:  # a ModuleDict, which has no `get`
            return {}
        tower: Any = self.live[name]
        found: Mapping[str, Encoder] = tower.readers[0]
        return found
