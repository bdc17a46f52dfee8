"""Picture models of transformers: ViT, DINOv2, DINOv3, and the tower of Florence-2.

Each family is one entry below. Pooled: the class token after the last normalisation, or the mean of
the map where there is none; patches or map as sequence. Sources: Dosovitskiy et al. 2020, arXiv
2010.11929; Oquab et al. 2023, arXiv 2304.07193; Darcet et al. 2023, arXiv 2309.16588; Siméoni et
al. 2025, arXiv 2508.10104; Xiao et al. 2023, arXiv 2311.06242.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmcli.core.types import EncoderCard
from mmcli.encoders.cards import space_of
from mmcli.encoders.hub import config_of, fetch
from mmcli.encoders.image_settings import HALF, IMAGENET_MEAN, IMAGENET_STD, picture_settings
from mmcli.encoders.pictures import ImageBatch
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.towers import PictureTower, Ran, picture_tower
from mmcli.encoders.weights import folder_sha256, open_model, settle, weight_files
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_transformers

_IMAGENET = {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}


@dataclass(frozen=True)
class Family:
    """model: the class in transformers; options: for its from_pretrained. part: the attribute that
    is the tower, "" for the whole. layers: where its layers are, for a tower. prefix: tokens before
    the patches. settings: of its image processor, where the folder says nothing."""

    model: str
    layers: Callable[[Any], Sequence[Any]]
    prefix: Callable[[Any], int]
    settings: Mapping[str, Any]
    part: str = ""
    size: int = 224
    options: Mapping[str, Any] = field(default_factory=dict)


FAMILIES = {
    "vit": Family(
        "ViTModel",
        layers=lambda net: net.layers,
        prefix=lambda config: 1,
        settings={"resample": 2, "image_mean": HALF, "image_std": HALF},
        options={"add_pooling_layer": False},
    ),
    "dinov2": Family(
        "Dinov2Model",
        layers=lambda net: net.encoder.layer,
        prefix=lambda config: 1,
        settings={"do_center_crop": True, "size": {"shortest_edge": 256}, "crop_size": 224}
        | _IMAGENET,
    ),
    "dinov2_with_registers": Family(
        "Dinov2WithRegistersModel",
        layers=lambda net: net.encoder.layer,
        prefix=lambda config: 1 + int(config.num_register_tokens),
        settings={"do_center_crop": True, "size": {"shortest_edge": 256}, "crop_size": 224}
        | _IMAGENET,
    ),
    "dinov3_vit": Family(
        "DINOv3ViTModel",
        layers=lambda net: net.model.layer,
        prefix=lambda config: 1 + int(config.num_register_tokens),
        settings={"resample": 2} | _IMAGENET,
    ),
    "dinov3_convnext": Family(
        "DINOv3ConvNextModel",
        layers=lambda net: (),  # its stages have no vector of their own before their maps
        prefix=lambda config: 1,
        settings={"resample": 2} | _IMAGENET,
    ),
    "florence2": Family(
        "Florence2Model",
        layers=lambda net: [stage[-1] for stage in net.blocks],
        prefix=lambda config: 0,
        settings=_IMAGENET,
        part="vision_tower",
        size=768,
    ),
}


def load(resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement) -> PictureTower:
    """The picture model of a repository or a folder, whichever family its config.json names."""
    found = fetch(resolved)
    kind = str(config_of(found.path, "config.json")["model_type"])
    family = FAMILIES[kind]
    build = getattr(load_transformers(), family.model)
    whole = open_model(build, found.path, placement, **family.options)
    net = settle(getattr(whole, family.part) if family.part else whole, placement)
    sha256 = folder_sha256(weight_files(found.path))
    card = EncoderCard(
        name=resolved.name,
        modality="image",
        dim=0,
        normalized=False,
        space=space_of(kind.replace("_", "-"), sha256),
        weights_sha256=sha256,
        revision=found.revision,
    )

    def run(batch: ImageBatch) -> Ran:
        states = (net(batch.pixels)).last_hidden_state
        pooled = states.float().mean(dim=(2, 3)) if states.ndim == 4 else states[:, 0]
        return Ran(pooled, states)

    return picture_tower(
        card,
        net,
        run,
        lambda: family.layers(net),
        family.prefix(net.config),
        picture_settings(found.path, family.size, family.settings),
        options,
        placement,
    )
