"""Learning from pairs: what the training loop is given for `retrieval` and `pretrain`.

An epoch goes through the train rows that have both parts, in an order that depends on seed and
epoch alone. Vectors of frozen encoders are read where they lie; those of live towers are computed
from prepared parts, decoded a step ahead. With `accumulate` a step contrasts several passes' rows
with each other: passes run without gradients first, then each again with the gradient that the
losses have at its vectors (Gao et al. 2021, arXiv 2101.06983). Knows nothing about files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmcli.align.contrastive import ahead
from mmcli.align.features import Features, Rows, subset
from mmcli.align.scoring import score_vectors
from mmcli.core.types import Prepared
from mmcli.engine.autocast import autocast
from mmcli.engine.parts import PartReader
from mmcli.tasks.pairs import PairNetwork
from mmcli.tasks.pairs_losses import Weights, judged, pair_losses

#: What decides between epochs whose hit@1 is the same: a thousandth of the loss.
TIE_BREAK = 1e-3
#: Validation rows that are looked at after each epoch.
MOST_ROWS = 4_000
#: Rows through the heads at a time where nothing is learned.
BLOCK = 1_024


@dataclass(frozen=True)
class Standard:
    """Mean and scale of a modality's keys side by side, `(width,)` each: what is given back."""

    keys: tuple[str, ...]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Rows of one step. stored: vectors by modality and key; parts: by live modality."""

    rows: Rows
    stored: Mapping[str, Mapping[str, Tensor]]
    parts: Mapping[str, Sequence[Prepared]]


class PairLearning:
    """A network and the rows it learns from.

    by_hits: whether epochs are compared by hit@1 of both directions, else by the loss. live: the
    reader of the parts of live towers, and the key that it knows each modality by. learned, rates,
    begin: as in `tasks/end_to_end.py`; learned is None where every parameter learns. batch: rows
    of a pass; accumulate: passes of a step.
    """

    whole_epochs = False

    def __init__(
        self,
        network: PairNetwork,
        features: Features,
        standards: Mapping[str, Standard],
        *,
        by_hits: bool,
        weights: Weights,
        batch: int,
        accumulate: int = 1,
        live: tuple[PartReader, Mapping[str, str]] | None = None,
        learned: frozenset[str] | None = None,
        rates: Mapping[str, float] | None = None,
        begin: Callable[[int], None] = lambda epoch: None,
        seed: int = 0,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        self.model, self.features, self.standards = network, features, dict(standards)
        self.by_hits, self.weights = by_hits, weights
        self.live, self.begin = live, begin
        self.learned, self.rates = learned, dict(rates or {})
        self.seed, self.device, self.dtype = seed, device, dtype
        self.plain = frozenset({"log_scale"})
        names = network.names
        self.train_rows = features.rows_with(features.train, *names)
        self.val_rows = subset(features.rows_with(features.val, *names), MOST_ROWS, seed)
        self.pass_rows = max(2, batch)
        self.rows_a_step = min(self.pass_rows * max(1, accumulate), len(self.train_rows))
        self.steps = max(1, len(self.train_rows) // self.rows_a_step)
        self.grouped = len(np.unique(features.groups)) < len(features.groups)

    # -- the loop's side -----------------------------------------------------------------------

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The steps of an epoch, read and decoded one ahead."""
        self.begin(epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.train_rows)
        size = self.rows_a_step
        chosen = (order[i * size : (i + 1) * size] for i in range(start, self.steps))
        yield from ahead(self._read, chosen)

    def step(self, batch: Batch, backward: Callable[[Tensor], None]) -> dict[str, float]:
        """The losses of a step's rows, and their gradients."""
        passes = range(0, len(batch.rows), self.pass_rows)
        if not batch.parts or len(passes) == 1:
            with self._autocast():
                found = self._losses(batch.rows, self._joined(batch, self._run(batch)))
            backward(found["loss"])
        else:
            found = self._step_by_passes(batch, backward)
        return {name: float(loss.detach()) for name, loss in found.items()}

    def score(self) -> float:
        """How good it is on the validation rows; NaN where there are fewer than two."""
        if len(self.val_rows) < 2:
            return float("nan")
        a, b = self._embedded(self.val_rows)
        loss = float(self._judged(self.val_rows, a, b)["loss"])
        if not self.by_hits:
            return -loss
        both = zip(self.model.names, (a, b), strict=True)
        embedded = {name: (self.val_rows, v.cpu().numpy()) for name, v in both}
        scores = score_vectors(self.features, embedded, (1,))
        hits = float(np.mean([one["hit@1"] for one in scores.values()]))
        return hits - TIE_BREAK * loss

    # -- what came of it -----------------------------------------------------------------------

    def vectors(self, rows: Rows) -> dict[str, NDArray[np.float32]]:
        """Unit vectors of rows that have both parts, by modality."""
        found = self._embedded(rows)
        return {name: v.cpu().numpy() for name, v in zip(self.model.names, found, strict=True)}

    def worth(self, rows: Rows) -> dict[str, float]:
        """Losses by name and what `Joint` is worth, of rows that have both parts."""
        if len(rows) < 2:
            return {}
        a, b = self._embedded(rows)
        losses = {name: float(loss) for name, loss in self._judged(rows, a, b).items()}
        told = judged(self.model, a, b, self._groups(rows), self._targets(rows), self._generator())
        return {**losses, **told}

    def with_gradients(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Both unit vectors of some rows, in whatever mode the network is."""
        batch = self._read(rows)
        found: tuple[Tensor, Tensor] = self.model(self._joined(batch, self._run(batch)))
        return found

    # -- inside --------------------------------------------------------------------------------

    def _read(self, rows: Rows) -> Batch:
        stored: dict[str, dict[str, Tensor]] = {}
        for name, part in self.features.parts.items():
            computed = self.model.computed(name)
            keys = [key for key in part.keys if key not in computed]
            stored[name] = {}
            if keys:
                taken = part.take(rows, keys)
                stored[name] = {key: self._tensor(v) for key, v in taken.items()}
        parts: dict[str, Sequence[Prepared]] = {}
        if self.live is not None:
            reader, lead = self.live
            prepared = reader.finish(reader.start(rows.tolist()))
            parts = {name: [prepared[key][int(row)] for row in rows] for name, key in lead.items()}
        return Batch(rows, stored, parts)

    def _tensor(self, array: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _run(self, batch: Batch, within: slice | None = None) -> dict[str, dict[str, Tensor]]:
        """What live towers say of the batch's rows, or of those of one pass."""
        return {
            name: self.model.live[name](parts if within is None else parts[within])
            for name, parts in batch.parts.items()
        }

    def _joined(
        self, batch: Batch, computed: Mapping[str, Mapping[str, Tensor]]
    ) -> dict[str, dict[str, Tensor]]:
        return {name: {**batch.stored[name], **computed.get(name, {})} for name in self.model.names}

    def _losses(self, rows: Rows, x: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
        a, b = self.model(x)
        return pair_losses(self.model, a, b, self._groups(rows), self._targets(rows), self.weights)

    def _step_by_passes(
        self, batch: Batch, backward: Callable[[Tensor], None]
    ) -> dict[str, Tensor]:
        slices = [
            slice(at, at + self.pass_rows) for at in range(0, len(batch.rows), self.pass_rows)
        ]
        states, found = [], []
        with torch.no_grad(), self._autocast():
            for one in slices:
                states.append(self._random_state())
                found.append(self._run(batch, one))
        whole = {
            name: {
                key: torch.cat([part[name][key] for part in found]).requires_grad_()
                for key in found[0][name]
            }
            for name in found[0]
        }
        with self._autocast():
            losses = self._losses(batch.rows, self._joined(batch, whole))
        backward(losses["loss"])
        after = self._random_state()
        for one, state in zip(slices, states, strict=True):
            self._set_random_state(state)  # the same units are dropped as in the pass before
            with self._autocast():
                outputs = self._run(batch, one)
            values, gradients = [], []
            for name, keys in outputs.items():
                for key, value in keys.items():
                    gradient = whole[name][key].grad
                    if gradient is not None and value.requires_grad:
                        values.append(value)
                        gradients.append(gradient[one])
            if values:  # towers that have yet to thaw learn nothing
                torch.autograd.backward(values, gradients)
        self._set_random_state(after)
        return losses

    def _random_state(self) -> tuple[Tensor, Tensor | None]:
        on_gpu = self.device.startswith("cuda")
        return torch.get_rng_state(), torch.cuda.get_rng_state(self.device) if on_gpu else None

    def _set_random_state(self, state: tuple[Tensor, Tensor | None]) -> None:
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], self.device)

    def _groups(self, rows: Rows) -> Tensor | None:
        return self._tensor(self.features.groups[rows]) if self.grouped else None

    def _targets(self, rows: Rows) -> dict[str, Tensor]:
        if self.model.joint is None:
            return {}
        found = {}
        for name, standard in self.standards.items():
            taken = self.features.parts[name].take(rows, standard.keys)
            side = np.concatenate([taken[key] for key in standard.keys], axis=1)
            found[name] = self._tensor((side - standard.mean) / standard.scale)
        return found

    @torch.no_grad()
    def _embedded(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Vectors of both modalities as they are now; live towers in blocks of a pass."""
        self.model.eval()
        size = self.pass_rows if self.live is not None else BLOCK
        blocks = (rows[at : at + size] for at in range(0, len(rows), size))
        found = []
        for batch in ahead(self._read, blocks):
            with self._autocast():
                found.append(self.model(self._joined(batch, self._run(batch))))
        return torch.cat([a for a, _ in found]), torch.cat([b for _, b in found])

    @torch.no_grad()
    def _judged(self, rows: Rows, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        groups, targets = self._groups(rows), self._targets(rows)
        with self._autocast():
            return pair_losses(self.model, a, b, groups, targets, self.weights, self._generator())

    def _generator(self) -> torch.Generator:
        """Draws the same wrong partners whenever rows are judged."""
        return torch.Generator(self.device).manual_seed(self.seed)

    def _autocast(self) -> Any:
        return autocast(self.device, self.dtype)
