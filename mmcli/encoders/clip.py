"""CLIP and Chinese CLIP: a picture tower and a text tower in one space.

transformers' own classes, from the hub or a folder; the tower that is not asked for is dropped.
Sources: Radford et al. 2021, arXiv 2103.00020; Yang et al. 2022, arXiv 2211.01335.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmcli.core.types import EncoderCard, Output, Prepared
from mmcli.data.recipes import ImageRecipe
from mmcli.encoders.cards import finished, narrowed, shared_card
from mmcli.encoders.class_token import ClassTokenLayer
from mmcli.encoders.hub import config_of, fetch
from mmcli.encoders.image_settings import picture_settings
from mmcli.encoders.pictures import IMAGE_BATCH, ImageBatch, Pictures
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.steady import steady
from mmcli.encoders.text import TextEncoder, TextFeatures
from mmcli.encoders.text_tower import layer_state
from mmcli.encoders.tokens import TokenBatch, Tokenizer
from mmcli.encoders.weights import (
    from_pretrained,
    settle,
    torch_dtype,
)
from mmcli.engine.attention import attention
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_transformers

_DEFAULTS = {
    "do_center_crop": True,
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
#: Tokens Chinese CLIP was trained with; its BERT would take 512.
_CHINESE_LENGTH = 52


@dataclass(frozen=True)
class PatchFeatures:
    """Projected vectors `(rows, dim)` and patch states without the class token, by layer."""

    pooled: Any
    states: Any
    layers: tuple[Any, ...] | None
    rows: int


@dataclass
class ClipImage:
    """The picture tower: projected class token, patches as sequence."""

    card: EncoderCard
    model: Any
    pictures: Pictures
    recipe: ImageRecipe
    trunk_key: Hashable
    options: EncoderOptions
    window: int | None = IMAGE_BATCH
    budget: int = IMAGE_BATCH

    @property
    def network(self) -> Any:
        """What can be trained."""
        return self.model

    def prepare(self, parts: Sequence[Any]) -> list[Prepared]:
        return self.pictures.prepare(parts)

    def collate(self, rows: Sequence[Prepared], length: int) -> ImageBatch:
        return self.pictures.collate(rows)

    def trunk(self, batch: ImageBatch) -> PatchFeatures:
        out = self.model.vision_model(
            pixel_values=batch.pixels, output_hidden_states=bool(self.options.layers)
        )
        pooled = steady(self.model.visual_projection, out.pooler_output)
        layers = out.hidden_states if self.options.layers else None
        return PatchFeatures(pooled, out.last_hidden_state, layers, batch.rows)

    def head(
        self, features: PatchFeatures, *, sequence: bool = False, layer: int | None = None
    ) -> Output:
        """A layer's vector is its class token."""
        states, pooled, dim = features.states, features.pooled, self.options.dim
        if layer is not None:
            assert features.layers is not None, "load the encoder with options.layers"
            states = features.layers[layer]
            pooled, dim = states[:, 0], None
        pooled = finished(pooled[: features.rows], dim, True)
        if not sequence:
            return Output(pooled)
        return Output(pooled, list(states[: features.rows, 1:].float().unbind(0)))


def load(
    resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement
) -> ClipImage | TextEncoder:
    """The tower of `resolved.modality`."""
    transformers = load_transformers()
    found = fetch(resolved)
    folder = found.path
    kind = str(config_of(folder, "config.json").get("model_type"))
    build = transformers.ChineseCLIPModel if kind == "chinese_clip" else transformers.CLIPModel
    model = from_pretrained(
        build.from_pretrained,
        folder,
        dtype=torch_dtype(placement),
        attn_implementation=attention(placement),
    )
    card = shared_card(resolved, found, kind.replace("_", "-"), int(model.config.projection_dim))
    if resolved.modality == "image":
        return _image(folder, model, card, options, placement)
    return _text(folder, kind, model, card, options, placement)


def _image(
    folder: Path, model: Any, card: EncoderCard, options: EncoderOptions, placement: Placement
) -> ClipImage:
    model.text_model = model.text_projection = None
    model = settle(model, placement, channels_last=True)
    if not options.sequence and not options.layers:
        layers = model.vision_model.encoder.layers
        layers[-1] = ClassTokenLayer(layers[-1])
    vision = model.config.vision_config
    settings = picture_settings(folder, int(vision.image_size), _DEFAULTS)
    recipe = settings.recipe
    card = replace(
        card,
        preprocessing=settings.told(),
        sequence_dim=int(vision.hidden_size),
        sequence_length=(recipe.height // vision.patch_size) * (recipe.width // vision.patch_size),
        layers=int(vision.num_hidden_layers),
    )
    return ClipImage(
        card=narrowed(card, options),
        model=model,
        pictures=Pictures(settings.mean, settings.std, placement, settings.scale),
        recipe=recipe,
        trunk_key=(card.weights_sha256, "image", placement, options.sequence, bool(options.layers)),
        options=options,
    )


def _text(
    folder: Path,
    kind: str,
    model: Any,
    card: EncoderCard,
    options: EncoderOptions,
    placement: Placement,
) -> TextEncoder:
    model.vision_model = model.visual_projection = None
    model = settle(model, placement)
    config = model.config.text_config
    chinese = kind == "chinese_clip"
    pooling = "cls" if chinese else "eos"
    most = int(config.max_position_embeddings)
    usual = min(_CHINESE_LENGTH, most) if chinese else most
    length = max(2, min(options.max_length or usual, most))
    want_layers = bool(options.layers)
    card = replace(
        card,
        preprocessing={"max_length": length, "pooling": [pooling]},
        prompts={"used": options.prompt} if options.prompt else {},
        sequence_dim=int(config.hidden_size),
        sequence_length=length,
        layers=int(config.num_hidden_layers),
        scripts=("Hani", "Latn") if chinese else ("Latn",),
    )

    def run(batch: TokenBatch) -> TextFeatures:
        out = model.text_model(
            input_ids=batch.ids, attention_mask=batch.mask, output_hidden_states=want_layers
        )
        states = out.last_hidden_state
        pooled = steady(model.text_projection, states[:, 0] if chinese else out.pooler_output)
        return TextFeatures(batch, states, out.hidden_states if want_layers else None, pooled)

    return TextEncoder(
        card=narrowed(card, options),
        trunk_key=(card.weights_sha256, "text", placement, length, options.prompt, want_layers),
        tokenizer=Tokenizer(folder, length, options.prompt, placement.device),
        run=run,
        project=lambda features: features.pooled,
        project_layer=lambda features, layer: layer_state(features, layer, pooling),
        options=options,
        dtype=placement.dtype,
        network=model,
    )
