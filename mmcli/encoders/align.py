"""ALIGN: EfficientNet-B7 and BERT in one space, as Kakao Brain trained it on COYO-700M.

The picture tower has no projection, its pooled map is the vector; the text tower reads 64 tokens
and its first token is projected. Source: Jia et al. 2021, arXiv 2102.05918.
"""

from typing import Any

from mmcli.core.types import EncoderCard
from mmcli.encoders.cards import shared_card
from mmcli.encoders.hub import fetch
from mmcli.encoders.image_settings import HALF, picture_settings
from mmcli.encoders.pictures import ImageBatch
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.steady import steady
from mmcli.encoders.text import TextEncoder
from mmcli.encoders.text_tower import text_tower
from mmcli.encoders.tokens import TokenBatch, Tokenizer
from mmcli.encoders.towers import PictureTower, Ran, picture_tower
from mmcli.encoders.weights import open_model, settle
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_transformers

#: Tokens it was trained with; its BERT would take 512.
_LENGTH = 64
#: EfficientNetImageProcessor's, where the folder says nothing.
_DEFAULTS = {
    "do_center_crop": True,
    "size": {"height": 346, "width": 346},
    "crop_size": {"height": 289, "width": 289},
    "resample": 2,
    "image_mean": HALF,
    "image_std": HALF,
}


def load(
    resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement
) -> PictureTower | TextEncoder:
    """The tower of `resolved.modality`."""
    found = fetch(resolved)
    picture = resolved.modality == "image"
    # its depthwise layers add up few and small numbers, as EfficientNet-Lite0's: fp32 for pictures
    placement = Placement(placement.device, "float32") if picture else placement
    model = open_model(load_transformers().AlignModel, found.path, placement)
    card = shared_card(resolved, found, "align", int(model.config.projection_dim))
    if not picture:
        return _text(found.path, model, card, options, placement)
    net = settle(model.vision_model, placement, channels_last=True)

    def run(batch: ImageBatch) -> Ran:
        out = net(batch.pixels)
        return Ran(out.pooler_output, out.last_hidden_state)

    settings = picture_settings(found.path, 289, _DEFAULTS)
    return picture_tower(
        card, net, run, lambda: net.encoder.blocks, 0, settings, options, placement, exact=True
    )


def _text(
    folder: Any, model: Any, card: EncoderCard, options: EncoderOptions, placement: Placement
) -> TextEncoder:
    model.vision_model = None
    model = settle(model, placement)
    net, config = model.text_model, model.config.text_config
    length = min(options.max_length or _LENGTH, int(config.max_position_embeddings))

    def run(batch: TokenBatch) -> Ran:
        states = net(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state
        return Ran(steady(model.text_projection, states[:, 0]), states)

    return text_tower(
        card,
        model,
        run,
        lambda: net.encoder.layer,
        Tokenizer(folder, max(2, length), options.prompt, placement.device),
        int(config.hidden_size),
        "cls",
        options,
        placement,
    )
