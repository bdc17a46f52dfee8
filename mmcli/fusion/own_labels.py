"""Labels of each modality by itself, and what a network with an output for each learns of them.

They are given, as columns of a table, or generated from the labels of the whole while it learns.
The loss of a row becomes

    L(y, ŷ) + weight · sum over m of share_m · L(y_m, ŷ_m)

over the modalities that the row has and that have a label there. CH-SIMS (Yu et al. 2020, ACL
2020.acl-main.343, sec. 4) sums all tasks, each with a factor that is searched for on the data: its
authors' program has 0.6 for the whole and 0.2, 0.8 and 0.8 for words, voice and face, three times
as much in all. Here every task counts alike, which comes to the same three times, and `weight` is
the one factor.

Generated labels are those of Self-MM (Yu et al. 2021, arXiv 2102.04830). With D⁺ and D⁻ the
distances of a row's state to the means of the states of rows whose label is above and below zero,

    α = (D⁻ - D⁺) / D⁺                     of each modality's states and labels, and of the whole's
    new_m = ½ y α_m / α + ½ (y + α_m - α)
    y_m ← (i - 1) / (i + 1) · y_m + 2 / (i + 1) · new_m       before epoch i = 2, 3, …; y_m = y in 1
    share_m = tanh |y_m - y|

so that α, the only thing known of a modality, shifts and scales the label of the whole. `new_m` is
cut off at the largest |y|, as in the authors' program, and distances are those of that program; all
states of an epoch are computed with the same weights, without dropout, where the paper gathers them
step by step. So what is kept of an epoch is y_m alone. Numbers only, zero is neutral.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmcli.fusion.objective import Objective

Floats = NDArray[np.float64]
#: Of places among the train rows, states `(members, rows, M, width)` and of the whole
#: `(members, rows, width)`.
Blocks = Iterable[tuple[slice, Tensor, Tensor]]
#: Below this a distance, or α of the whole, does not divide.
_LEAST = 1e-8


@dataclass(frozen=True)
class OwnLabels:
    """Labels of the modalities of all rows, in the order of the inputs.

    values: `(rows, modalities)` in the units of the label, NaN where unknown; None: to be
    generated. shares: what each counts, 1 where None. weight: of each loss beside the whole's.
    """

    values: Floats | None = None
    shares: Floats | None = None
    weight: float = 1.0


class OwnTargets(nn.Module):
    """What the modalities' outputs learn of the train rows.

    labels: `(members, train rows, modalities)`; they change with the epochs where they are
    generated, one set a member, and are then part of the state. Given ones are the same for all.
    """

    labels: Tensor
    shares: Tensor
    known: Tensor

    def __init__(
        self,
        own: OwnLabels,
        objective: Objective,
        whole: Any,
        train: NDArray[np.int64],
        present: NDArray[np.bool_],
        members: int = 1,
    ) -> None:
        """whole: the label of every row; train: row numbers; present: of these, which modalities
        they have."""
        super().__init__()
        assert objective.kind == "number"
        self.weight, self.mean, self.scale = own.weight, objective.mean, objective.scale
        self.generated = own.values is None
        self.objective = objective
        self.train_rows, self.n_rows = train, len(whole)
        self.place = np.full(len(whole), -1, np.int64)
        self.place[train] = np.arange(len(train))
        y = np.asarray(whole, np.float64)[train]
        if own.values is None:
            values = np.repeat(y[:, None], present.shape[1], axis=1)
            known = present
        else:
            values = own.values[train]
            known = present & ~np.isnan(values)
            values = np.where(known, values, 0.0)
        shares = np.ones_like(values) if own.shares is None else np.nan_to_num(own.shares[train])
        labels = torch.from_numpy(values.astype(np.float32))
        self.register_buffer(
            "labels",
            labels.expand(members if self.generated else 1, *labels.shape).clone(),
            persistent=self.generated,
        )
        self.register_buffer("known", torch.from_numpy(known), persistent=False)
        self.register_buffer(
            "shares", torch.from_numpy(shares.astype(np.float32)), persistent=False
        )
        self.register_buffer("whole", torch.from_numpy(y.astype(np.float32)), persistent=False)

    def losses(self, parts: Tensor, rows: NDArray[np.int64], present: Tensor) -> Tensor:
        """What is added to the loss of each row, `(members, rows)`.

        parts: the modalities' outputs `(members, rows, modalities, n_outputs)`. present: what is
        taken as there of these rows, which all are of train.
        """
        places = torch.from_numpy(self.place[rows]).to(self.labels.device)
        labels = self.labels[:, places]
        known = (self.known[places] & present).float()
        target = (labels - self.mean) / self.scale
        losses = self.objective.row_losses(parts, target)
        weights = self._shares(labels, places) * known
        return self.weight * (losses * weights).sum(-1)

    def _shares(self, labels: Tensor, places: Tensor) -> Tensor:
        if not self.generated:
            return self.shares[places]
        return (labels - self.whole[places][:, None]).abs().tanh()

    @torch.no_grad()
    def renew(self, blocks: Callable[[], Blocks], epoch: int) -> None:
        """Generate the labels of epoch number `epoch`, from 1; what is given stays as it is.

        blocks: goes through the states of all train rows; called twice.
        """
        if not self.generated or epoch < 2:
            return
        whole, labels = self.whole, self.labels
        own = Centres(labels, self.known.expand_as(labels))
        fused = Centres(whole[None, :, None], torch.ones_like(whole[None, :, None], dtype=bool))
        for at, states, vectors in blocks():
            own.see(at, states)
            fused.see(at, vectors[:, :, None])
        limit = float(whole.abs().max())
        renewed = labels.clone()
        for at, states, vectors in blocks():
            alpha = fused.relative(vectors[:, :, None])
            new = generated(whole[at][:, None], own.relative(states), alpha, limit)
            renewed[:, at] = momentum(labels[:, at], new, epoch)
        # with one side only there is nothing to be near to: such a modality stays as it is
        sided = (own.both & fused.both)[:, None] & self.known
        self.labels.copy_(torch.where(sided, renewed, labels))

    def fixed(self, member: int) -> OwnLabels:
        """The labels and shares of one member as they are now, to be given to another training."""
        shape = (self.n_rows, self.labels.shape[-1])
        values, shares = np.full(shape, np.nan), np.zeros(shape)
        labels = self.labels[member if self.generated else 0]
        everywhere = torch.arange(len(self.train_rows), device=labels.device)
        said = np.where(self.known.cpu().numpy(), labels.cpu().numpy(), np.nan)
        values[self.train_rows] = said
        shares[self.train_rows] = self._shares(labels, everywhere).cpu().numpy()
        return OwnLabels(values, shares, self.weight)


class Centres:
    """The mean states of rows whose label is above zero, and of those below it.

    labels: `(members, rows, M)`, of rows where `known` is true. both: whether a modality has rows
    of both sides, `(members, M)`.
    """

    def __init__(self, labels: Tensor, known: Tensor) -> None:
        self.sides = [(labels > 0) & known, (labels < 0) & known]
        self.both = self.sides[0].any(1) & self.sides[1].any(1)
        self.sums: list[Any] = [0.0, 0.0]

    def see(self, at: slice, states: Tensor) -> None:
        """Add the states `(members, rows, M, width)` of the rows at these places."""
        for side in (0, 1):
            chosen = self.sides[side][:, at].to(states.dtype)
            self.sums[side] = self.sums[side] + torch.einsum("srm,srmw->smw", chosen, states)

    def relative(self, states: Tensor) -> Tensor:
        """α `(members, rows, M)`: above zero where a state is nearer to the positive centre."""
        distances = []
        for side in (0, 1):
            counts = self.sides[side].sum(1).clamp(min=1)[..., None]
            centre = self.sums[side] / counts
            distances.append(torch.linalg.vector_norm(states - centre[:, None], dim=-1))
        positive, negative = distances
        return (negative - positive) / positive.clamp(min=_LEAST)


def generated(whole: Tensor, own: Tensor, fused: Tensor, limit: float) -> Tensor:
    """Labels of the modalities `(members, rows, M)` from those of the whole `(rows, 1)`, α of
    each modality and α of the whole `(members, rows, 1)`; none beyond `limit`."""
    least = torch.where(fused < 0, -_LEAST, _LEAST)
    divisor = torch.where(fused.abs() < _LEAST, least, fused)
    found = 0.5 * whole * own / divisor + 0.5 * (whole + own - fused)
    return found.clamp(-limit, limit)


def momentum(old: Tensor, new: Tensor, epoch: int) -> Tensor:
    """The labels of this epoch, from those of the one before and the newly generated."""
    return (epoch - 1) / (epoch + 1) * old + 2 / (epoch + 1) * new
