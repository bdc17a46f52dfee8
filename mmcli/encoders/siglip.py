"""SigLIP and SigLIP 2: a picture tower and a text tower in one space, NaFlex among them.

Texts are in lower case, padded to 64 tokens, and read at the last place, padding or not: so they
were trained, without an attention mask. SigLIP's are without punctuation too. Sources: Zhai et al.
2023, arXiv 2303.15343; Tschannen et al. 2025, arXiv 2502.14786.
"""

import string
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmcli.core.types import EncoderCard
from mmcli.encoders.cards import shared_card
from mmcli.encoders.hub import config_of, fetch
from mmcli.encoders.image_settings import HALF, picture_settings
from mmcli.encoders.naflex import FlexBatch, FlexPictures
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.steady import steady
from mmcli.encoders.text import TextEncoder
from mmcli.encoders.text_tower import text_tower
from mmcli.encoders.tokens import TokenBatch, Tokenizer
from mmcli.encoders.towers import PictureTower, Ran, picture_tower
from mmcli.encoders.weights import open_model, settle
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch, load_transformers

_MODELS = {"siglip": "SiglipModel", "siglip2": "Siglip2Model"}
_DEFAULTS = {"image_mean": HALF, "image_std": HALF}


def load(
    resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement
) -> PictureTower | TextEncoder:
    """The tower of `resolved.modality`."""
    found = fetch(resolved)
    folder = found.path
    # fixed-size checkpoints of SigLIP 2 say `siglip` of themselves, NaFlex ones `siglip2`
    kind = str(config_of(folder, "config.json")["model_type"])
    model = open_model(getattr(load_transformers(), _MODELS[kind]), folder, placement)
    card = shared_card(resolved, found, kind, 0)  # each tower says how wide it is
    if resolved.modality == "text":
        return _text(folder, model, card, options, placement)
    if kind == "siglip2":
        return _flexible(folder, model, card, options, placement)
    net = _vision(model, placement)

    def run(batch: Any) -> Ran:
        states = net(pixel_values=batch.pixels).last_hidden_state
        return Ran(_pooled(net.head, states), states)

    settings = picture_settings(folder, int(net.config.image_size), _DEFAULTS)
    return picture_tower(
        card, net, run, lambda: net.encoder.layers, 0, settings, options, placement
    )


def _vision(model: Any, placement: Placement) -> Any:
    """The picture tower, its pooling head in fp32.

    The head sees one row a picture, too few for bf16 to have the same bits in every batch; it is a
    hundredth of the tower.
    """
    torch = load_torch()
    net, head = model.vision_model, model.vision_model.head
    net.use_head, net.head = False, torch.nn.Identity()
    net = settle(net, placement)
    net.head = settle(head, Placement(placement.device, "float32"))
    return net


def _pooled(head: Any, states: Any, *mask: Any) -> Any:
    with load_torch().autocast(states.device.type, enabled=False):
        return head(states.float(), *mask)


def _flexible(
    folder: Path, model: Any, card: EncoderCard, options: EncoderOptions, placement: Placement
) -> PictureTower:
    """NaFlex: pictures keep their proportions, and are as many patches as fit."""
    net = _vision(model, placement)
    patch = int(net.config.patch_size)
    settings = picture_settings(folder, patch, {**_DEFAULTS, "resample": 2}, patch)

    def run(batch: FlexBatch) -> Ran:
        states = net(
            pixel_values=batch.patches,
            pixel_attention_mask=batch.mask,
            spatial_shapes=batch.shapes,
        ).last_hidden_state
        return Ran(_pooled(net.head, states, batch.mask), states)

    return picture_tower(
        card,
        net,
        run,
        lambda: net.encoder.layers,
        0,
        settings,
        options,
        placement,
        pictures=FlexPictures(settings, placement),
    )


def _text(
    folder: Path, model: Any, card: EncoderCard, options: EncoderOptions, placement: Placement
) -> TextEncoder:
    net = settle(model.text_model, placement)
    config = net.config
    places = int(config.max_position_embeddings)
    length = max(2, min(options.max_length or places, places))
    tokenizer = Tokenizer(
        folder,
        length,
        options.prompt,
        placement.device,
        lower_case=True,
        fixed=places,
        fast=(folder / "tokenizer.json").is_file(),
    )
    second = _is_second(folder, config)
    if not second:
        tokenizer.core.normalizer = _canonical(tokenizer.core.normalizer)
    pad = load_torch().nn.functional.pad

    def run(batch: TokenBatch) -> Ran:
        ids = batch.ids * batch.mask + tokenizer.pad_id * (1 - batch.mask)
        ids = pad(ids, (0, places - ids.shape[1]), value=tokenizer.pad_id)
        out = net(input_ids=ids)
        states = out.last_hidden_state
        return Ran(steady(net.head, states[:, -1]), states)

    card = replace(card, dim=int(config.projection_size))
    return text_tower(
        card,
        net,
        run,
        lambda: net.encoder.layers,
        tokenizer,
        int(config.hidden_size),
        "last",
        options,
        placement,
        () if second else ("Latn",),
    )


def _is_second(folder: Path, config: Any) -> bool:
    """Whether a folder is of the second generation: it reads with Gemma's tokens."""
    told = config_of(folder, "tokenizer_config.json").get("tokenizer_class", "")
    return "Siglip2" in told or "Gemma" in told or config.model_type.startswith("siglip2")


def _canonical(rest: Any) -> Any:
    """SigLIP's texts before tokenisation: lower case, no punctuation, single spaces."""
    from tokenizers import Regex, normalizers

    steps = [
        normalizers.Lowercase(),
        normalizers.Replace(Regex("[" + "".join(f"\\{c}" for c in string.punctuation) + "]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]
    return normalizers.Sequence(steps + ([rest] if rest is not None else []))
