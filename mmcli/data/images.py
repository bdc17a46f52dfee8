"""Reads pictures with Pillow: 8-bit RGB, upright, transparency on white, the first frame.

The header decides whether a picture is decoded at all. Crops are taken while resizing, so that a
picture of any proportions costs no more than its target.
"""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmcli.data.files import PartError, read_regular
from mmcli.data.recipes import ImageRecipe, PatchRecipe
from mmcli.data.suffixes import split_suffix

#: Pillow's own limit against decompression bombs: a quarter of 2**31 bytes, at 3 bytes a pixel.
MAX_PIXELS = 178_956_970
MAX_IMAGE_BYTES = 2_000_000_000
#: Formats that are recognised by their first bytes. EPS and the like run other programs: left out.
_FORMATS = (
    *("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO", "ICNS"),
    *("DIB", "PSD", "QOI", "DDS", "SGI", "SUN", "IM", "XBM", "XPM"),
)
#: Formats that noise could pass for: only under their own suffix.
_WEAK_FORMATS = dict.fromkeys((".tga", ".icb", ".vda", ".vst"), "TGA") | {
    ".pcx": "PCX",
    ".cur": "CUR",
}
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_ORIENTATION = 0x0112  # EXIF tag
_SCALE_PRECISION = 1e-5
_WHITE = (255, 255, 255)
Picture = Image.Image


@dataclass(frozen=True)
class PictureFacts:
    """Format as Pillow names it, in small letters, and upright width and height in pixels."""

    format: str
    width: int
    height: int


def read_images(path: str, recipes: Sequence[ImageRecipe]) -> list["np.ndarray[Any, Any]"]:
    """uint8 `(height, width, 3)` a recipe. Raises PartError."""
    return decode_images(read_regular(path, MAX_IMAGE_BYTES), recipes, split_suffix(path)[1])


def decode_images(
    content: bytes, recipes: Sequence[ImageRecipe], suffix: str = ""
) -> list["np.ndarray[Any, Any]"]:
    """The picture in these bytes, once a recipe. Raises PartError.

    What a recipe gives does not depend on the other recipes: a JPEG is decoded once for each
    scale at which they want it.
    """
    with _explained():
        pictures: dict[int, tuple[Picture, tuple[int, int]]] = {}
        results = []
        for recipe in recipes:
            picture = _open(io.BytesIO(content), suffix)
            scale = _draft_scale(picture, recipe)
            if scale not in pictures:
                pictures[scale] = _decode(picture, scale)
            upright, full_size = pictures[scale]
            results.append(np.array(apply_recipe(upright, recipe, full_size)))
        return results


def picture_facts(stream: BinaryIO, suffix: str = "", deep: bool = False) -> PictureFacts:
    """What the header of a picture says; deep: all of it is decoded too. Raises PartError."""
    with _explained():
        picture = _open(stream, suffix)
        width, height = _upright_size(picture, header_only=not deep)
        facts = PictureFacts((picture.format or "").lower(), width, height)
        if deep:
            picture.load()
        return facts


@contextmanager
def _explained() -> Iterator[None]:
    """Turn whatever Pillow raises into PartError."""
    try:
        yield
    except (PartError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise PartError("too-large", f"has more than {MAX_PIXELS} pixels") from error
    except UnidentifiedImageError as error:
        raise PartError("corrupt", "is no picture that Pillow knows") from error
    except Exception as error:  # Pillow's readers raise whatever broken bytes lead them to
        raise PartError("corrupt", f"cannot be decoded: {error or type(error).__name__}") from error


def apply_recipe(
    picture: Picture, recipe: ImageRecipe, full_size: tuple[int, int] | None = None
) -> Picture:
    """An RGB picture cut and scaled as the recipe says.

    full_size: of the file, when `picture` is a smaller draft of it; proportions are taken from it.
    """
    width, height = full_size or picture.size
    target = (recipe.width, recipe.height)
    resample = _FILTERS[recipe.interpolation]
    if isinstance(recipe, PatchRecipe):
        return picture.resize(_in_patches(width, height, recipe), resample)
    if recipe.fit == "squash":
        if recipe.resize:
            return _crop(picture, recipe, (recipe.resize, recipe.resize))
        return picture.resize(target, resample)
    if recipe.fit == "pad":
        scale = min(recipe.width / width, recipe.height / height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        canvas = Image.new("RGB", target, _WHITE)
        offset = ((recipe.width - inner[0]) // 2, (recipe.height - inner[1]) // 2)
        canvas.paste(picture.resize(inner, resample), offset)
        return canvas
    return _crop(picture, recipe, _cover(width, height, recipe))


def _crop(picture: Picture, recipe: ImageRecipe, scaled: tuple[int, int]) -> Picture:
    """The centre of the picture as if it had been resized to `scaled`, and only that centre."""
    left = int((scaled[0] - recipe.width) / 2)  # rounds as transformers' centre crop does
    top = int((scaled[1] - recipe.height) / 2)
    resample = _FILTERS[recipe.interpolation]
    if left < 0 or top < 0 or recipe.width > scaled[0] or recipe.height > scaled[1]:
        whole = picture.resize(scaled, resample)  # pads with black where the target is larger
        return whole.crop((left, top, left + recipe.width, top + recipe.height))
    x, y = picture.width / scaled[0], picture.height / scaled[1]
    box = (left * x, top * y, (left + recipe.width) * x, (top + recipe.height) * y)
    box = (*box[:2], min(box[2], picture.width), min(box[3], picture.height))
    return picture.resize((recipe.width, recipe.height), resample, box)


def _in_patches(width: int, height: int, recipe: PatchRecipe) -> tuple[int, int]:
    """The size in pixels of the most whole patches that keep the proportions and fit.

    Searched by bisection as in NaFlex (Dehghani et al. 2023, arXiv 2307.06304), to the same
    precision as transformers, so that the sizes are the same.
    """

    def sides(scale: float) -> tuple[int, int]:
        across = max(1, math.ceil(width * scale / recipe.width))
        return across, max(1, math.ceil(height * scale / recipe.height))

    low, high = _SCALE_PRECISION / 10, 100.0
    while high - low >= _SCALE_PRECISION:
        middle = (low + high) / 2
        across, down = sides(middle)
        low, high = (middle, high) if across * down <= recipe.most_patches else (low, middle)
    across, down = sides(low)
    return across * recipe.width, down * recipe.height


def _cover(width: int, height: int, recipe: ImageRecipe) -> tuple[int, int]:
    """The size whose shorter side is the recipe's `resize`, rounded as torchvision does."""
    short = recipe.resize or min(recipe.width, recipe.height)
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short


def _open(content: BinaryIO, suffix: str) -> Picture:
    """The picture with its header read and its size checked, not decoded."""
    formats = list(_FORMATS)
    if suffix in _WEAK_FORMATS:
        formats.append(_WEAK_FORMATS[suffix])
    picture = Image.open(content, formats=formats)
    if picture.width * picture.height > MAX_PIXELS:
        raise PartError(
            "too-large", f"is {picture.width}x{picture.height}, more than {MAX_PIXELS} pixels"
        )
    return picture


def _draft_scale(picture: Picture, recipe: ImageRecipe) -> int:
    """By how much (1, 2, 4, 8) a JPEG may be decoded smaller: still twice the target's size."""
    if picture.format not in ("JPEG", "MPO"):
        return 1
    width, height = _upright_size(picture)
    if isinstance(recipe, PatchRecipe):
        across, down = _in_patches(width, height, recipe)
        factor = max(across / width, down / height)
    elif recipe.fit == "crop":
        factor = (recipe.resize or min(recipe.width, recipe.height)) / min(width, height)
    elif recipe.resize:
        factor = recipe.resize / min(width, height)
    else:
        choose = max if recipe.fit == "squash" else min
        factor = choose(recipe.width / width, recipe.height / height)
    return next((scale for scale in (8, 4, 2) if 1 / scale >= 2 * factor), 1)


def _decode(picture: Picture, scale: int) -> tuple[Picture, tuple[int, int]]:
    """The picture upright in RGB, and its full size."""
    full_size = _upright_size(picture)
    if scale > 1:
        picture.draft(None, (picture.width // scale, picture.height // scale))
    picture.load()
    if _orientation(picture) != 1:
        picture = ImageOps.exif_transpose(picture)
    return to_rgb(picture), full_size


def _orientation(picture: Picture, header_only: bool = False) -> int:
    if "exif" not in picture.info:
        if picture.format not in ("TIFF", "PNG", "MPO", "WEBP", "AVIF"):
            return 1
        if picture.format == "PNG":  # where it may stand behind the pixels
            if header_only:
                return 1
            picture.load()  # Pillow would do so below, where broken pixels would go unnoticed
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken EXIF block says nothing about the picture
        return 1
    return value if value in range(1, 9) else 1


def _upright_size(picture: Picture, header_only: bool = False) -> tuple[int, int]:
    return picture.size[::-1] if _orientation(picture, header_only) >= 5 else picture.size


def to_rgb(picture: Picture) -> Picture:
    """Any mode as 8-bit RGB; transparent pixels let white through."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        return Image.fromarray(_to_8_bit(picture)).convert("RGB")
    if picture.has_transparency_data:
        if picture.mode == "La":
            picture = picture.convert("LA")
        layer = picture.convert("RGBA")
        white = Image.new("RGB", layer.size, _WHITE)
        white.paste(layer, mask=layer.getchannel("A"))
        return white
    return picture.convert("RGB")


def _to_8_bit(picture: Picture) -> "np.ndarray[Any, Any]":
    values = np.asarray(picture)
    if picture.mode.startswith("I;16"):
        return (values >> 8).astype(np.uint8)
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    top = values.max(initial=0)
    if top > 255:
        values = values * (255 / 65535)
    elif picture.mode == "F" and top <= 1:
        values = values * 255
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
