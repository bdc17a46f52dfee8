"""Pictures as patches of their own number and proportions, for NaFlex models.

Every row is padded to the most patches there may be, so that it does not hang on its batch. Source:
Dehghani et al. 2023, arXiv 2307.06304. Knows no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmcli.core.types import Prepared
from mmcli.data.recipes import PatchRecipe
from mmcli.encoders.image_settings import PictureSettings
from mmcli.encoders.steady import LEAST_ROWS
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch


@dataclass(frozen=True)
class FlexBatch:
    """Patches `(at least LEAST_ROWS, most, pixels)`, their mask, and patches down and across of
    each row `(rows, 2)`; lengths: of the real rows."""

    patches: Any
    mask: Any
    shapes: Any
    lengths: list[int]

    @property
    def rows(self) -> int:
        """How many rows are real."""
        return len(self.lengths)


class FlexPictures:
    """Cuts pictures into patches and scales their pixels."""

    def __init__(self, settings: PictureSettings, placement: Placement) -> None:
        assert isinstance(settings.recipe, PatchRecipe)
        torch = load_torch()
        self.recipe = settings.recipe
        self.placement = placement
        std = torch.tensor(settings.std)
        self.factor = (settings.scale / std).to(placement.device)
        self.shift = (-torch.tensor(settings.mean) / std).to(placement.device)

    def prepare(self, parts: Sequence[np.ndarray]) -> list[Prepared]:
        """One row a picture `(height, width, 3)` uint8, both whole numbers of patches."""
        return [Prepared(part) for part in parts]

    def collate(self, rows: Sequence[Prepared]) -> FlexBatch:
        torch = load_torch()
        high, wide, most = self.recipe.height, self.recipe.width, self.recipe.most_patches
        count = max(len(rows), LEAST_ROWS)
        values = np.zeros((count, most, high * wide, 3), np.uint8)
        mask = np.zeros((count, most), np.int32)
        shapes = np.ones((count, 2), np.int64)
        mask[len(rows) :, 0] = 1
        for row, prepared in enumerate(rows):
            down, across = (n // s for n, s in zip(prepared.data.shape, (high, wide), strict=False))
            patches = prepared.data.reshape(down, high, across, wide, 3).swapaxes(1, 2)
            values[row, : down * across] = patches.reshape(down * across, high * wide, 3)
            mask[row, : down * across] = 1
            shapes[row] = down, across
        device = self.placement.device
        bytes_ = torch.from_numpy(values).to(device)
        pixels = torch.addcmul(self.shift, bytes_.float(), self.factor).flatten(2)
        lengths = mask[: len(rows)].sum(axis=1).tolist()
        return FlexBatch(
            pixels.to(getattr(torch, self.placement.dtype)),
            torch.from_numpy(mask).to(device),
            torch.from_numpy(shapes).to(device),
            lengths,
        )
