"""X-CLIP: videos and English texts in one space; CLIP whose frames exchange messages.

Texts are embedded without the prompts that X-CLIP can make from a video: those differ with each
pair, and a space has one vector a text. Source: Ni et al. 2022, arXiv 2208.02816.
"""

from pathlib import Path
from typing import Any

from mmcli.core.types import EncoderCard
from mmcli.data.recipes import VideoRecipe
from mmcli.encoders.cards import shared_card
from mmcli.encoders.clips import VIDEO_BATCH, ClipBatch, Clips, frames_of
from mmcli.encoders.hub import fetch
from mmcli.encoders.image_settings import picture_settings
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.steady import steady
from mmcli.encoders.text import TextEncoder
from mmcli.encoders.text_tower import text_tower
from mmcli.encoders.tokens import TokenBatch, Tokenizer
from mmcli.encoders.towers import PictureTower, Ran, picture_tower
from mmcli.encoders.videomae import FRAME_DEFAULTS
from mmcli.encoders.weights import open_model, settle
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_transformers


def load(
    resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement
) -> PictureTower | TextEncoder:
    """The tower of `resolved.modality`."""
    found = fetch(resolved)
    model = open_model(load_transformers().XCLIPModel, found.path, placement)
    card = shared_card(resolved, found, "xclip", int(model.config.projection_dim))
    if resolved.modality == "text":
        return _text(found.path, model, card, options, placement)
    model.text_model = model.text_projection = model.prompts_generator = None
    model = settle(model, placement)
    vision = model.config.vision_config
    settings = picture_settings(found.path, int(vision.image_size), FRAME_DEFAULTS)
    frames = frames_of(int(vision.num_frames), options, resolved)

    def run(batch: ClipBatch) -> Ran:
        out = model.get_video_features(batch.pixels)
        return Ran(out.pooler_output, out.last_hidden_state)

    def tokens(states: Any) -> Any:
        """The patches of a video's frames, one frame after another."""
        return states[:, 1:].unflatten(0, (-1, frames)).flatten(1, 2)

    return picture_tower(
        card,
        model,
        run,
        lambda: model.vision_model.encoder.layers,
        0,
        settings,
        options,
        placement,
        recipe=VideoRecipe(settings.recipe, frames),
        pictures=Clips(settings, frames, placement),
        tokens=tokens,
        window=VIDEO_BATCH,
        budget=VIDEO_BATCH,
    )


def _text(
    folder: Path, model: Any, card: EncoderCard, options: EncoderOptions, placement: Placement
) -> TextEncoder:
    model.vision_model = model.mit = model.prompts_generator = None
    model.visual_projection = model.prompts_visual_layernorm = None
    model = settle(model, placement)
    net, config = model.text_model, model.config.text_config
    most = int(config.max_position_embeddings)

    def run(batch: TokenBatch) -> Ran:
        out = net(input_ids=batch.ids, attention_mask=batch.mask)
        return Ran(steady(model.text_projection, out.pooler_output), out.last_hidden_state)

    return text_tower(
        card,
        model,
        run,
        lambda: net.encoder.layers,
        Tokenizer(
            folder, max(2, min(options.max_length or most, most)), options.prompt, placement.device
        ),
        int(config.hidden_size),
        "eos",
        options,
        placement,
    )
