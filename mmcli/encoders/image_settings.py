"""What a model folder says of its pictures: a recipe for the decoder, and how pixels are scaled.

Reads preprocessor_config.json, or the part of it in processor_config.json that newer versions of
transformers write. Knows no model; where a file is silent, the family's own defaults hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.data.recipes import ImageRecipe, Interpolation, PatchRecipe
from mmcli.encoders.hub import processor_part

#: Pillow's numbers for resampling, as preprocessor_config.json has them.
_RESAMPLING: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class PictureSettings:
    """recipe: what a worker makes of a file. Pixels are `value * scale`, minus mean, over std."""

    recipe: ImageRecipe
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float

    def told(self) -> dict[str, Any]:
        """What is written down of them."""
        return {**vars(self.recipe), "mean": list(self.mean), "std": list(self.std)}


def picture_settings(
    folder: Path, image_size: int, defaults: Mapping[str, Any], patch_size: int = 0
) -> PictureSettings:
    """The settings of a folder's pictures (or video frames).

    image_size: taken where no size is given. defaults: of the family's image processor, under the
    names of preprocessor_config.json. patch_size: of models that take any number of patches.
    Raises BadInput for a resampling filter that Pillow does not number.
    """
    given = processor_part(
        folder, "preprocessor_config.json", "image_processor", "video_preprocessor_config.json"
    )
    settings = {**defaults, **{k: v for k, v in given.items() if v is not None}}
    filter_ = _filter(settings, folder)
    if patch_size:
        side = int(settings.get("patch_size", patch_size))
        most = int(settings.get("max_num_patches", 256))
        recipe: ImageRecipe = PatchRecipe(side, side, "squash", None, filter_, most)
    else:
        recipe = _recipe(settings, image_size, filter_)
    scale = settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1.0
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if settings.get("do_normalize", True):
        mean, std = (tuple(map(float, settings[k])) for k in ("image_mean", "image_std"))
    if settings.get("rescale_offset"):  # EfficientNet's: one is taken off after scaling
        mean = tuple(m + 1 for m in mean)
    return PictureSettings(recipe, mean, std, float(scale))


def _recipe(settings: Mapping[str, Any], image_size: int, filter_: Interpolation) -> ImageRecipe:
    crop, size = settings.get("crop_size", image_size), settings.get("size", image_size)
    cropped = settings.get("do_center_crop", False)
    shortest = size.get("shortest_edge") if isinstance(size, dict) else size
    if cropped and shortest is not None:
        height, width = _sides(crop, image_size)
        return ImageRecipe(height, width, "crop", int(shortest), filter_)
    height, width = _sides(size, image_size)
    if cropped and height == width and _sides(crop, image_size) != (height, width):
        return ImageRecipe(*_sides(crop, image_size), "squash", height, filter_)
    return ImageRecipe(height, width, "squash", None, filter_)


def _filter(settings: Mapping[str, Any], folder: Path) -> Interpolation:
    number = int(settings.get("resample", 3))
    if number not in _RESAMPLING:
        raise BadInput(
            f"`{folder}/preprocessor_config.json`: resample {number} is not supported",
            f"Pillow's {', '.join(map(str, _RESAMPLING))} are",
        )
    return _RESAMPLING[number]


def _sides(size: Any, default: int) -> tuple[int, int]:
    if isinstance(size, dict):
        side = size.get("shortest_edge", default)
        return int(size.get("height", side)), int(size.get("width", side))
    return int(size), int(size)
