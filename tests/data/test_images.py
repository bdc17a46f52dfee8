"""Pictures: every mode as upright 8-bit RGB, cut and scaled as Pillow would in two steps."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mmcli.data.files import PartError
from mmcli.data.images import MAX_PIXELS, decode_images, picture_facts, read_images
from mmcli.data.recipes import ImageRecipe

# decode_parts silences these; here they would only clutter the report.
pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
SAME = ImageRecipe(4, 4, fit="squash", interpolation="nearest")


def encoded(picture, kind="PNG", **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def decoded(picture, kind="PNG", recipe=SAME, suffix="", **options):
    return decode_images(encoded(picture, kind, **options), [recipe], suffix)[0]


def photo(width, height, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (Image.new("RGB", (4, 4), (10, 20, 30)), (10, 20, 30)),
        (Image.new("L", (4, 4), 77), (77, 77, 77)),
        (Image.new("1", (4, 4), 1), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (0, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 128)), (255, 127, 127)),
        (Image.new("LA", (4, 4), (0, 0)), (255, 255, 255)),
        (Image.new("P", (4, 4), 0), (0, 0, 0)),
        (Image.fromarray(np.full((4, 4), 65535, np.uint16)), (255, 255, 255)),
        (Image.fromarray(np.full((4, 4), 0x8000, np.uint16)), (128, 128, 128)),
    ],
)
def test_modes(picture, expected):
    values = decoded(picture)
    assert values.dtype == np.uint8
    assert values.shape == (4, 4, 3)
    assert values.flags.writeable
    assert (values == expected).all()


def test_modes_that_png_does_not_have():
    assert (decoded(Image.new("CMYK", (4, 4), (0, 0, 0, 0)), "JPEG") >= 254).all()
    assert (decoded(Image.new("I", (4, 4), 65535), "TIFF") == 255).all()
    assert (decoded(Image.new("I", (4, 4), 9), "TIFF") == 9).all()
    assert (decoded(Image.new("F", (4, 4), 0.5), "TIFF") == 128).all()
    assert (decoded(Image.new("F", (4, 4), float("nan")), "TIFF") == 0).all()
    palette = Image.new("P", (4, 4), 3)
    palette.putpalette([0] * 768)
    assert (decoded(palette, transparency=3) == 255).all()
    assert (decoded(Image.new("RGB", (4, 4)), transparency=(0, 0, 0)) == 255).all()


def test_the_first_frame():
    frames = [Image.new("L", (4, 4), grey) for grey in (200, 0, 0)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        values = decoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert abs(int(values.mean()) - 200) <= 2, kind


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    picture = Image.new("RGB", (64, 32), (0, 0, 0))
    picture.paste((255, 255, 255), (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    tall = orientation >= 5
    recipe = ImageRecipe(64 if tall else 32, 32 if tall else 64, fit="squash")
    values = decoded(picture, "JPEG", recipe, exif=exif, quality=95)
    corners = [values[c][0] > 128 for c in ((0, 0), (0, -1), (-1, -1), (-1, 0))]
    white = {1: 0, 2: 1, 3: 2, 4: 3, 5: 0, 6: 1, 7: 2, 8: 3}[orientation]
    assert corners == [corner == white for corner in range(4)]


def test_a_broken_exif_block_does_not_matter():
    content = encoded(
        Image.new("RGB", (8, 8), (9, 9, 9)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"
    )
    assert decode_images(content, [SAME])[0].shape == (4, 4, 3)


@pytest.mark.parametrize("size", [(640, 480), (333, 500), (225, 224), (224, 231), (100, 90)])
def test_a_crop_equals_resizing_and_then_cropping(size):
    picture = photo(*size)
    width, height = size
    short = min(size)
    scaled = (int(224 * width / short), int(224 * height / short))
    whole = np.asarray(picture.resize(scaled, Image.Resampling.BICUBIC), int)
    left, top = (scaled[0] - 224) // 2, (scaled[1] - 224) // 2
    expected = whole[top : top + 224, left : left + 224]
    assert np.abs(decoded(picture, recipe=ImageRecipe(224, 224)) - expected).max() <= 2


def test_crop_takes_the_centre_of_a_larger_resize():
    picture = photo(600, 400)
    whole = np.asarray(picture.resize((384, 256), Image.Resampling.BILINEAR), int)
    recipe = ImageRecipe(224, 224, resize=256, interpolation="bilinear")
    assert np.abs(decoded(picture, recipe=recipe) - whole[16:240, 80:304]).max() <= 2


def test_pad_and_squash():
    picture = Image.new("RGB", (40, 10), (0, 0, 0))
    padded = decoded(picture, recipe=ImageRecipe(20, 20, fit="pad"))
    assert (padded[8:12] == 0).all()
    assert (padded[:7] == 255).all()
    assert (padded[13:] == 255).all()
    assert (decoded(picture, recipe=ImageRecipe(20, 20, fit="squash")) == 0).all()


def test_extreme_proportions_cost_no_more_than_the_target():
    values = decoded(Image.new("RGB", (60_000, 2), (5, 5, 5)), recipe=ImageRecipe(224, 224))
    assert values.shape == (224, 224, 3)
    values = decoded(Image.new("RGB", (60_000, 2)), recipe=ImageRecipe(224, 224, fit="pad"))
    assert (values[:111] == 255).all()


def test_a_recipe_gives_the_same_whoever_else_asks():
    content = encoded(photo(2400, 1800), "JPEG", quality=90)
    small, large = ImageRecipe(224, 224), ImageRecipe(600, 600)
    together = decode_images(content, [large, small, small])
    assert (together[0] == decode_images(content, [large])[0]).all()
    assert (together[1] == decode_images(content, [small])[0]).all()
    exact = np.asarray(Image.open(io.BytesIO(content)).resize((298, 224), Image.Resampling.BICUBIC))
    difference = np.abs(together[1].astype(int) - exact[:, 37:261].astype(int))
    assert difference.mean() < 1


def header_only_png(width, height):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_the_header_decides_whether_a_picture_is_too_large():
    with pytest.raises(PartError, match="more than 178956970 pixels") as caught:
        decode_images(header_only_png(60_000, 60_000), [SAME])
    assert caught.value.kind == "too-large"
    assert MAX_PIXELS < 60_000 * 60_000
    bitmap = struct.pack(
        "<2sIHHIIiiHHIIiiII", b"BM", 0, 0, 0, 54, 40, 20_000, 10_000, 1, 24, *[0] * 6
    )
    with pytest.raises(PartError, match="more than 178956970 pixels"):
        decode_images(bitmap, [SAME])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_truncated_pictures_are_corrupt(kind):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    for end in (len(content) // 2, 10):
        with pytest.raises(PartError) as caught:
            decode_images(content[:end], [SAME])
        assert caught.value.kind == "corrupt"


def test_noise_and_postscript_are_corrupt():
    noise = np.random.default_rng(2).bytes(5000)
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    for content in (noise, program, b"text"):
        with pytest.raises(PartError, match="no picture that Pillow knows"):
            decode_images(content, [SAME], ".jpg")


def test_tga_only_under_its_name(tmp_path):
    path = tmp_path / "a.tga"
    Image.new("RGB", (4, 4), (1, 2, 3)).save(path)
    assert (read_images(str(path), [SAME])[0] == (1, 2, 3)).all()
    with pytest.raises(PartError):
        decode_images(path.read_bytes(), [SAME], ".jpg")


def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "p.jpg")
    with pytest.raises(PartError, match="not a regular file"):
        read_images(str(tmp_path / "p.jpg"), [SAME])


@pytest.mark.parametrize("deep", [False, True])
def test_facts_of_a_picture(deep: bool) -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (30, 20), "red").save(out, "JPEG", exif=exif)
    facts = picture_facts(io.BytesIO(out.getvalue()), ".jpg", deep)
    assert (facts.format, facts.width, facts.height) == ("jpeg", 20, 30)


def test_a_png_whose_pixels_are_broken_is_corrupt() -> None:
    """Its orientation may stand behind the pixels, and looking for it once hid the error."""
    out = io.BytesIO()
    values = np.add.outer(np.arange(90) ** 2 // 7, np.arange(90) * 3) % 251
    Image.fromarray(values.astype(np.uint8)).save(out, "PNG")
    content = bytearray(out.getvalue())
    content[100:300] = bytes(200)
    with pytest.raises(PartError, match="cannot be decoded") as caught:
        decode_images(bytes(content), [ImageRecipe(8, 8)], ".png")
    assert caught.value.kind == "corrupt"
    assert picture_facts(io.BytesIO(bytes(content)), ".png").width == 90
    with pytest.raises(PartError):
        picture_facts(io.BytesIO(bytes(content)), ".png", deep=True)
