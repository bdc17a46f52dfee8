"""Pictures and recordings inside a page: small copies as data URIs, else their names and reasons.

Knows nothing about what they illustrate.
"""

import base64
import io
import os
from collections.abc import Mapping, Sequence

from mmcli.data.decode import PartTask, decode_parts
from mmcli.data.files import PartError, read_regular
from mmcli.data.recipes import ImageRecipe
from mmcli.report.page import text

#: Side of a thumbnail, twice what it takes on the page so that dense screens show it sharp.
SIDE = 320
#: Larger recordings are named, not embedded.
MAX_AUDIO_BYTES = 1_000_000
_AUDIO = {
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".flac": "audio/flac",
}


def make_thumbnails(paths: Sequence[str]) -> dict[str, str]:
    """A data URI for each picture that can be decoded; for others `!` and the reason."""
    from PIL import Image

    unique = list(dict.fromkeys(paths))
    recipe = ImageRecipe(SIDE, SIDE, fit="pad", interpolation="lanczos")
    made = {}
    for path in unique:  # one at a time, so that many hits take little memory
        task = PartTask(row=0, modality="image", value=path, is_path=True)
        (result,), _, _ = decode_parts([task], {"image": (recipe,)})
        if result.values is None:
            made[path] = "!" + (result.message or result.error)
            continue
        encoded = io.BytesIO()
        Image.fromarray(result.values[0]).save(encoded, "JPEG", quality=85)
        made[path] = "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()
    return made


def audio_uri(path: str) -> str | None:
    """A data URI of a small recording that browsers play, else None."""
    kind = _AUDIO.get(os.path.splitext(path)[1].lower())
    if kind is None:
        return None
    try:
        content = read_regular(path, MAX_AUDIO_BYTES)
    except PartError:
        return None
    return f"data:{kind};base64," + base64.b64encode(content).decode()


def picture(path: str, label: str, thumbnails: Mapping[str, str]) -> str:
    """An image element of a path among `make_thumbnails`, or the path and why it is not shown."""
    uri = thumbnails.get(path, "!")
    if uri.startswith("!"):
        return f'<div class="none">{text(path)}<br>{text(uri[1:])}</div>'
    return f'<img src="{uri}" alt="{text(label)}" title="{text(label)}">'


def sound(path: str) -> str:
    """A player of a small recording, or its path."""
    uri = audio_uri(path)
    if uri is None:
        return f'<p class="none">{text(path)}</p>'
    return f'<audio controls preload="none" src="{uri}"></audio>'
