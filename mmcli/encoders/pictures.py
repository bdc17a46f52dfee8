"""Decoded pictures to image batches: shared by every image tower. Knows no model.

Pixels travel as uint8 and are scaled where the model runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmcli.core.types import Prepared
from mmcli.encoders.steady import LEAST_ROWS
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch

#: Pictures in one batch.
IMAGE_BATCH = 32


@dataclass(frozen=True)
class ImageBatch:
    """Pixels `(at least LEAST_ROWS, 3, height, width)` on the device; the first `rows` are real.

    A small batch is filled up with black pictures, so that its size does not change the bits.
    """

    pixels: Any
    rows: int


class Pictures:
    """Scales pixels by a model's mean and deviation."""

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        placement: Placement,
        scale: float = 1 / 255,
    ) -> None:
        torch = load_torch()
        self.placement = placement
        shape = (1, 3, 1, 1)
        self.factor = (scale / torch.tensor(std)).view(shape).to(placement.device)
        self.shift = (-torch.tensor(mean) / torch.tensor(std)).view(shape).to(placement.device)

    def prepare(self, parts: Sequence[np.ndarray]) -> list[Prepared]:
        """One row a picture `(height, width, 3)` uint8."""
        return [Prepared(part) for part in parts]

    def collate(self, rows: Sequence[Prepared]) -> ImageBatch:
        """Pixels in channels-last memory, in the placement's type."""
        torch = load_torch()
        height, width, _ = rows[0].data.shape
        stacked = np.zeros((max(len(rows), LEAST_ROWS), height, width, 3), np.uint8)
        for row, prepared in enumerate(rows):
            stacked[row] = prepared.data
        bytes_ = torch.from_numpy(stacked).to(self.placement.device).permute(0, 3, 1, 2)
        pixels = torch.addcmul(self.shift, bytes_.float(), self.factor)
        pixels = pixels.to(getattr(torch, self.placement.dtype))
        return ImageBatch(pixels.contiguous(memory_format=torch.channels_last), len(rows))
