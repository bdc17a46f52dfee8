"""The text tower of a model that has others beside it: tokens in, one vector of the shared space.

A family says how its network is called and where its layers are. Knows no model.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mmcli.core.types import EncoderCard
from mmcli.encoders.cards import narrowed
from mmcli.encoders.specs import EncoderOptions
from mmcli.encoders.text import TOKEN_BUDGET, TextEncoder, TextFeatures
from mmcli.encoders.tokens import TokenBatch, Tokenizer
from mmcli.encoders.towers import Ran, watched
from mmcli.engine.device import Placement


def text_tower(
    card: EncoderCard,
    network: Any,
    run: Callable[[TokenBatch], Ran],
    layers_of: Callable[[], Sequence[Any]],
    tokenizer: Tokenizer,
    width: int,
    pooling: str,
    options: EncoderOptions,
    placement: Placement,
    scripts: tuple[str, ...] = ("Latn",),
) -> TextEncoder:
    """A tower whose `run` gives projected vectors, and states `(rows, length, width)`.

    pooling: what stands for a text in an inner layer: `cls` its first token, `eos` its last one,
    `last` the last place of all, padding or not.
    """
    card = replace(
        card,
        preprocessing={"max_length": tokenizer.max_length, "pooling": [pooling]},
        prompts={"used": tokenizer.prompt} if tokenizer.prompt else {},
        sequence_dim=width,
        sequence_length=tokenizer.max_length,
        layers=len(layers_of()),
        scripts=scripts,
    )

    def trunk(batch: TokenBatch) -> TextFeatures:
        with watched(layers_of(), options.layers) as kept:
            ran = run(batch)
        return TextFeatures(batch, ran.states, kept or None, ran.pooled)

    return TextEncoder(
        card=narrowed(card, options),
        trunk_key=(
            *(card.weights_sha256, "text", placement, tokenizer.max_length, tokenizer.prompt),
            options.layers,
        ),
        tokenizer=tokenizer,
        run=trunk,
        project=lambda features: features.pooled,
        project_layer=lambda features, layer: layer_state(features, layer, pooling),
        options=options,
        dtype=placement.dtype,
        budget=TOKEN_BUDGET,
        network=network,
    )


def layer_state(features: TextFeatures, layer: int, pooling: str) -> Any:
    """The states `(rows, width)` in an inner layer of the token that `pooling` reads."""
    assert features.layers is not None, "load the encoder with options.layers"
    states = features.layers[layer]
    if pooling != "eos":
        return states[:, 0 if pooling == "cls" else -1]
    last = features.batch.mask.sum(dim=1) - 1
    return states.gather(1, last.view(-1, 1, 1).expand(-1, 1, states.shape[-1])).squeeze(1)
