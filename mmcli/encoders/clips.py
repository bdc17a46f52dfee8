"""Decoded videos to batches of frames: shared by every video tower. Knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmcli.core.errors import UsageError
from mmcli.core.types import Prepared
from mmcli.encoders.image_settings import PictureSettings
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.steady import LEAST_ROWS
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch

#: Videos in one batch.
VIDEO_BATCH = 4


@dataclass(frozen=True)
class ClipBatch:
    """Pixels `(videos, frames, 3, height, width)` on the device; the first `rows` are real."""

    pixels: Any
    rows: int


def frames_of(own: int, options: EncoderOptions, resolved: ResolvedEncoder) -> int:
    """The frames a model takes. Raises UsageError when the user asks for another number."""
    if options.frames not in (None, own):
        raise UsageError(
            f"`{resolved.reference}` takes {own} frames, not {options.frames}",
            "leave out `--frames`, or choose an encoder of pictures for `--video`",
        )
    return own


class Clips:
    """Scales the pixels of videos of so many frames by a model's mean and deviation."""

    def __init__(self, settings: PictureSettings, frames: int, placement: Placement) -> None:
        torch = load_torch()
        self.frames = frames
        self.placement = placement
        std = torch.tensor(settings.std).view(3, 1, 1)
        self.factor = (settings.scale / std).to(placement.device)
        self.shift = (-torch.tensor(settings.mean).view(3, 1, 1) / std).to(placement.device)

    def prepare(self, parts: Sequence[np.ndarray]) -> list[Prepared]:
        """One row a video `(frames, height, width, 3)` uint8."""
        return [Prepared(part) for part in parts]

    def collate(self, rows: Sequence[Prepared]) -> ClipBatch:
        """A batch of few frames is filled with black videos, so that its size changes no bits.

        In bf16 it always is a whole batch: a layer that sees one row a frame is never large enough.
        """
        torch = load_torch()
        least = -(-LEAST_ROWS // self.frames) if self.placement.dtype == "float32" else VIDEO_BATCH
        count = max(len(rows), least)
        stacked = np.zeros((count, *rows[0].data.shape), np.uint8)
        for row, prepared in enumerate(rows):
            stacked[row] = prepared.data
        bytes_ = torch.from_numpy(stacked).to(self.placement.device).movedim(-1, 2)
        pixels = torch.addcmul(self.shift, bytes_.float(), self.factor)
        return ClipBatch(pixels.to(getattr(torch, self.placement.dtype)), len(rows))
