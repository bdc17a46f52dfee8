"""A video by any encoder of pictures: the mean of its frames' vectors, in the pictures' own space.

With `sequence` also the frames' vectors in their order. Knows no picture model.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmcli.core.types import Encoder, EncoderCard, Output, Prepared
from mmcli.data.recipes import VideoRecipe
from mmcli.encoders.cards import finished, narrowed
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.engine.device import Placement

#: Frames of a video unless the user says otherwise: as many as X-CLIP and most others take.
FRAMES = 8


@dataclass
class FrameEncoder:
    """Each row of a batch is `frames` rows of the picture encoder's batch."""

    card: EncoderCard
    pictures: Encoder
    frames: int
    recipe: VideoRecipe
    trunk_key: Hashable
    options: EncoderOptions
    window: int | None
    budget: int

    @property
    def network(self) -> Any:
        """What can be trained: the picture encoder."""
        return getattr(self.pictures, "network", None)

    def prepare(self, parts: Sequence["np.ndarray[Any, Any]"]) -> list[Prepared]:
        """One row a video `(frames, height, width, 3)` uint8."""
        if not len(parts):
            return []
        single = self.pictures.prepare([frame for part in parts for frame in part])
        rows = [single[i : i + self.frames] for i in range(0, len(single), self.frames)]
        return [
            Prepared(row, max(frame.length for frame in row), any(f.truncated for f in row))
            for row in rows
        ]

    def collate(self, rows: Sequence[Prepared], length: int) -> Any:
        return self.pictures.collate([frame for row in rows for frame in row.data], length)

    def trunk(self, batch: Any) -> Any:
        return self.pictures.trunk(batch)

    def head(self, features: Any, *, sequence: bool = False, layer: int | None = None) -> Output:
        """Means over the frames, at unit length where the pictures' vectors are."""
        single = self.pictures.head(features, layer=layer).pooled.float()
        frames = single.view(-1, self.frames, single.shape[1])
        dim = self.options.dim if layer is None else None
        pooled = finished(frames.mean(dim=1), dim, self.card.normalized)
        return Output(pooled, list(frames.unbind(0)) if sequence else None)


def load(resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement) -> FrameEncoder:
    """The picture encoder of the same reference, with `options.frames` frames a video."""
    from mmcli.encoders.registry import load as load_any

    frames = options.frames or FRAMES
    single = replace(options, sequence=False, dim=None)
    pictures = load_any(resolved.reference, "image", single, placement)
    card = pictures.card
    widths = [shape[1] for shape in card.layer_shapes] or [
        card.sequence_dim or card.dim for _ in range(card.layers)
    ]
    card = replace(
        card,
        modality="video",
        preprocessing={**card.preprocessing, "frames": frames, "pooling": "mean of frames"},
        sequence_dim=card.dim,
        sequence_length=frames,
        layer_shapes=tuple((frames, width) for width in widths),
        columns=(),
    )
    return FrameEncoder(
        card=narrowed(card, options),
        pictures=pictures,
        frames=frames,
        recipe=VideoRecipe(pictures.recipe, frames),
        trunk_key=("frames", frames, pictures.trunk_key),
        options=options,
        window=max(1, (pictures.window or FRAMES) // frames),
        budget=max(1, pictures.budget // frames),
    )
