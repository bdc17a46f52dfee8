"""Pictures of examples, whole: their size from the header, their pixels when a model wants them.

Decoding is `data/images.py`'s. Knows nothing about models.
"""

import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.data.files import PartError, read_regular
from mmcli.data.images import MAX_IMAGE_BYTES, decode_images
from mmcli.data.recipes import ImageRecipe
from mmcli.data.suffixes import split_suffix
from mmcli.tasks.generative.examples import Example

_ORIENTATION = 0x0112  # EXIF tag
#: Small enough that a JPEG is decoded at an eighth of its size, which still reads every byte.
_GLANCE = ImageRecipe(16, 16, fit="squash")
Size = tuple[int, int]


def read_picture(path: str) -> Any:
    """The picture upright in RGB, of its own size. Raises PartError."""
    from PIL import Image

    content = read_regular(path, MAX_IMAGE_BYTES)
    width, height = _size(content)
    recipe = ImageRecipe(height, width, fit="squash")
    return Image.fromarray(decode_images(content, [recipe], split_suffix(path)[1])[0])


def pictures_of(example: Example) -> list[Any]:
    """The pictures of a row. Raises BadInput, naming it, for one that cannot be read."""
    return [_named(example, path, read_picture) for path in example.images]


def sizes_of(examples: Sequence[Example], workers: int) -> list[tuple[Size, ...]]:
    """Width and height of every picture of every row; each is decoded once, to see that it can be.

    Raises BadInput naming the row, the first one in their order.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(max(1, workers)) as pool:
        warnings.simplefilter("ignore")  # Pillow's, about files that are odd but can be read
        known: dict[str, Any] = {}
        for example in examples:
            for path in example.images:
                if path not in known:
                    known[path] = pool.submit(partial(_named, example, path, _glance))
        try:
            return [tuple(known[path].result() for path in one.images) for one in examples]
        except BadInput:
            pool.shutdown(cancel_futures=True)  # the rest need not be looked at
            raise


def blank(size: Size) -> Any:
    """A grey picture of that size: one that says nothing."""
    from PIL import Image

    return Image.new("RGB", size, (127, 127, 127))


def distinct(sizes: Iterable[Iterable[Size]]) -> list[Size]:
    """Every size that occurs, in order of first occurrence."""
    return list(dict.fromkeys(size for row in sizes for size in row))


def _named(example: Example, path: str, read: Any) -> Any:
    try:
        return read(path)
    except PartError as error:
        raise BadInput(
            f'{example.where}: image "{path}" {error.message}', "get it again, or drop the row"
        ) from error


def _glance(path: str) -> Size:
    content = read_regular(path, MAX_IMAGE_BYTES)
    decode_images(content, [_GLANCE], split_suffix(path)[1])
    return _size(content)


def _size(content: bytes) -> Size:
    """Upright width and height; only the header is read."""
    import io

    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as picture:
            turned = picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
            width, height = picture.size
    except Exception as error:  # Pillow's readers raise whatever broken bytes lead them to
        raise PartError("corrupt", "is no picture that Pillow knows") from error
    return (height, width) if turned else (width, height)
