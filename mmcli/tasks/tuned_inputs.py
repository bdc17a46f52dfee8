"""What tuned towers say of some rows, in the form in which a fusion reads a store.

With it everything that judges a fusion on frozen features judges a tuned one as well. Rows that
were not asked for are zeros. Knows nothing about files.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcli.fusion.inputs import Inputs, Modality, Rows
from mmcli.tasks.end_to_end import EndToEnd
from mmcli.tasks.towers import TowersAndFusion


@dataclass
class HeldTokens:
    """Token sequences in memory, by row. dim: their width."""

    dim: int
    rows: dict[int, NDArray[np.float32]]

    def take(self, rows: Rows) -> list[NDArray[np.float32]]:
        """`(length, dim)` each; none of a row that is not held."""
        empty = np.zeros((0, self.dim), np.float32)
        return [self.rows.get(int(row), empty) for row in rows]


@torch.no_grad()
def tuned_inputs(model: TowersAndFusion, method: EndToEnd, rows: Rows) -> Inputs:
    """The inputs of a model with the vectors or tokens of its towers as they are now."""
    model.eval()
    inputs, view = model.inputs, model.view
    tuned = [m for m in inputs.names if any(s.tower for s in model.sources.get(m, []))]
    found: dict[str, list[Any]] = {name: [] for name in tuned}
    for at in range(0, len(rows), method.batch):
        block = rows[at : at + method.batch]
        parts = method.reader.finish(method.reader.start(block.tolist()))
        present = torch.from_numpy(inputs.present(block)).to(method.device)
        with method.autocast():
            x, valid = model.read(parts, block, present)
        for name in tuned:
            values = x[name].float().cpu()
            if name not in valid:
                found[name].append(values)
                continue
            lengths = valid[name].sum(1).tolist()
            found[name] += [v[:n].numpy() for v, n in zip(values, lengths, strict=True)]
    changed = {}
    for name, modality in inputs.modalities.items():
        changed[name] = modality
        if name in found:
            changed[name] = _held(modality, view, rows, found[name])
    return Inputs(changed, inputs.tabular)


def _held(modality: Modality, view: str, rows: Rows, found: list[Any]) -> Modality:
    """The modality with one view in memory; standardised vectors, or tokens as they came."""
    was = modality.view(view)
    if was.sequences is not None:
        tokens = HeldTokens(
            sum(was.dims),
            {
                int(row): np.asarray(t * was.scale + was.mean, np.float32)
                for row, t in zip(rows, found, strict=True)
            },
        )
        new = replace(was, sequences=tokens, held=None)
    else:
        held = torch.zeros((len(modality.present), sum(was.dims)))
        held[torch.from_numpy(rows)] = torch.cat(found)
        new = replace(was, held=held)
    name = view if view in modality.views else "pooled"
    return Modality(modality.name, modality.keys, modality.present, {**modality.views, name: new})
