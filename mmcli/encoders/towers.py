"""The tower for pictures and for videos that all families of transformers share.

Pixels in, one vector out, patches beside. A family says how its network is called, where its layers
are and how many tokens stand before the patches; widths and lengths are measured on a black
picture. Knows no model.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmcli.core.types import EncoderCard, Output, Prepared
from mmcli.data.recipes import VideoRecipe
from mmcli.encoders.cards import finished, narrowed
from mmcli.encoders.image_settings import PictureSettings
from mmcli.encoders.pictures import IMAGE_BATCH, Pictures
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch


@dataclass(frozen=True)
class Ran:
    """What a network gives: vectors `(rows, dim)`, and states as tokens `(rows, length, dim)` or
    as a map `(rows, dim, height, width)`."""

    pooled: Any
    states: Any


@dataclass(frozen=True)
class TowerFeatures:
    """pooled, states and layers as the network gave them; lengths: real tokens of each real row,
    None where all are."""

    pooled: Any
    states: Any
    layers: dict[int, Any]
    rows: int
    lengths: Sequence[int] | None = None


def as_tokens(states: Any) -> Any:
    """A map `(rows, dim, height, width)` as tokens `(rows, places, dim)`; tokens as they are."""
    return states.flatten(2).transpose(1, 2) if states.ndim == 4 else states


@dataclass
class PictureTower:
    """Calls `run` on a batch. prefix: tokens before the patches; the first of them stands for the
    picture in an inner layer, where there are none the mean does. tokens: what the network's states
    are as `(rows, length, dim)`."""

    card: EncoderCard
    network: Any
    run: Callable[[Any], Ran]
    layers_of: Callable[[], Sequence[Any]]
    prefix: int
    pictures: Any
    recipe: Any
    trunk_key: Hashable
    options: EncoderOptions
    window: int | None = IMAGE_BATCH
    budget: int = IMAGE_BATCH
    exact: bool = False
    """Computed in fp32 whatever the run's precision is."""
    tokens: Callable[[Any], Any] = as_tokens

    def prepare(self, parts: Sequence[Any]) -> list[Prepared]:
        return self.pictures.prepare(parts)

    def collate(self, rows: Sequence[Prepared], length: int) -> Any:
        return self.pictures.collate(rows)

    def trunk(self, batch: Any) -> TowerFeatures:
        with watched(self.layers_of(), self.options.layers) as kept:
            ran = self.run(batch)
        return TowerFeatures(
            ran.pooled, ran.states, kept, batch.rows, getattr(batch, "lengths", None)
        )

    def head(
        self, features: TowerFeatures, *, sequence: bool = False, layer: int | None = None
    ) -> Output:
        rows, lengths = features.rows, features.lengths
        if layer is None:
            states = self.tokens(features.states)
            pooled, dim = features.pooled, self.options.dim
        else:
            assert layer in features.layers, "load the encoder with options.layers"
            states = self.tokens(features.layers[layer])
            pooled, dim = self._of_layer(states, lengths), None
        pooled = finished(pooled[:rows], dim, self.card.normalized)
        if not sequence:
            return Output(pooled)
        tokens = states[:rows, self.prefix :].float().unbind(0)
        if lengths is not None:
            tokens = [row[:n] for row, n in zip(tokens, lengths, strict=True)]
        return Output(pooled, list(tokens))

    def _of_layer(self, states: Any, lengths: Sequence[int] | None) -> Any:
        if self.prefix:
            return states[:, 0]
        if lengths is None:
            return states.float().mean(dim=1)
        rows = [row[:n].float().mean(dim=0) for row, n in zip(states, lengths, strict=False)]
        return load_torch().stack(rows)


@contextmanager
def watched(layers: Sequence[Any], wanted: Sequence[int]) -> Iterator[dict[int, Any]]:
    """What these layers, counted from 1, give while the block runs."""
    kept: dict[int, Any] = {}

    def keep(number: int) -> Callable[[Any, Any, Any], None]:
        def hook(module: Any, given: Any, output: Any) -> None:
            kept[number] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = [
        layers[number - 1].register_forward_hook(keep(number))
        for number in wanted
        if 1 <= number <= len(layers)
    ]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def picture_tower(
    card: EncoderCard,
    network: Any,
    run: Callable[[Any], Ran],
    layers_of: Callable[[], Sequence[Any]],
    prefix: int,
    settings: PictureSettings,
    options: EncoderOptions,
    placement: Placement,
    **more: Any,
) -> PictureTower:
    """A tower whose card says what one black picture (of each of its frames) came to.

    more: fields of the tower otherwise than pictures have them.
    """
    recipe = settings.recipe
    shape = (recipe.height, recipe.width, 3)
    told = settings.told()
    if isinstance(more.get("recipe"), VideoRecipe):
        shape = (more["recipe"].frames, *shape)
        told["frames"] = shape[0]
    given = {
        "pictures": Pictures(settings.mean, settings.std, placement, settings.scale),
        "recipe": recipe,
        **more,
    }
    tower = PictureTower(
        card=replace(card, preprocessing=told),
        network=network,
        run=run,
        layers_of=layers_of,
        prefix=prefix,
        trunk_key=(card.weights_sha256, card.modality, placement, options.layers),
        options=options,
        **given,
    )
    tower.card = narrowed(measured(tower, [np.zeros(shape, np.uint8)]), options)
    return tower


def measured(tower: Any, parts: Sequence[Any]) -> EncoderCard:
    """The tower's card with the widths and lengths that these parts come to."""
    torch = load_torch()
    every = tuple(range(1, len(tower.layers_of()) + 1))
    probe = replace(tower, options=replace(tower.options, layers=every))
    with torch.inference_mode():
        features = probe.trunk(probe.collate(probe.prepare(parts), 1))
    states = tower.tokens(features.states)
    shapes = [tuple(tower.tokens(features.layers[n]).shape[1:]) for n in every]
    places, width = int(states.shape[1]) - tower.prefix, int(states.shape[2])
    own = [(length - tower.prefix, wide) for length, wide in shapes]
    return replace(
        tower.card,
        dim=int(features.pooled.shape[1]),
        sequence_dim=width,
        sequence_length=places,
        layers=len(every),
        layer_shapes=() if all(shape == (places, width) for shape in own) else tuple(own),
    )
