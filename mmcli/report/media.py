"""Pictures and recordings inside a page: small copies as data URIs, else their names and reasons.

Knows nothing about what they illustrate.
"""

import base64
import io
import os
from collections.abc import Mapping, Sequence

from mmcli.core.errors import MissingResource
from mmcli.data.decode import PartTask, decode_parts
from mmcli.data.files import PartError, read_regular
from mmcli.data.recipes import AudioRecipe, ImageRecipe, VideoRecipe
from mmcli.report.page import text

#: Side of a thumbnail, twice what it takes on the page so that dense screens show it sharp.
SIDE = 320
#: Larger recordings are named, not embedded.
MAX_AUDIO_BYTES = 1_000_000
#: Seconds of a span that are embedded.
_MOST_SOUND_S = 60.0
Span = tuple[float, float]
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


def make_frames(places: Sequence[tuple[str, Span | None]]) -> dict[tuple[str, Span | None], str]:
    """The middle frame of each video, or of the span of it, as `make_thumbnails` gives pictures."""
    from PIL import Image

    recipe = VideoRecipe(ImageRecipe(SIDE, SIDE, fit="pad", interpolation="lanczos"), 1)
    made = {}
    for path, span in dict.fromkeys(places):
        try:
            task = PartTask(0, "video", path, True, span)
            (result,), _, _ = decode_parts([task], {"video": (recipe,)})
        except MissingResource as error:
            made[path, span] = "!" + error.message
            continue
        if result.values is None:
            made[path, span] = "!" + (result.message or result.error)
            continue
        encoded = io.BytesIO()
        Image.fromarray(result.values[0][0]).save(encoded, "JPEG", quality=85)
        uri = base64.b64encode(encoded.getvalue()).decode()
        made[path, span] = f"data:image/jpeg;base64,{uri}"
    return made


def span_uri(path: str, span: Span) -> str | None:
    """A data URI of the span of a recording, as Ogg; None when it cannot be read."""
    import numpy as np
    import soundfile

    recipe = AudioRecipe(_MOST_SOUND_S)
    try:
        task = PartTask(0, "speech", path, True, span)
        (result,), _, _ = decode_parts([task], {"speech": (recipe,)})
    except MissingResource:
        return None
    if result.values is None:
        return None
    wave = result.values[0]
    packed = io.BytesIO()
    with soundfile.SoundFile(packed, "w", wave.rate_hz, 1, format="OGG", subtype="VORBIS") as file:
        for second in range(0, len(wave.samples), wave.rate_hz):  # libsndfile dies of long blocks
            file.write(np.clip(wave.samples[second : second + wave.rate_hz], -1, 1))
    return "data:audio/ogg;base64," + base64.b64encode(packed.getvalue()).decode()


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


def framed(path: str, span: Span | None) -> str:
    """What a frame of a video is called on a page: the path, and the seconds meant."""
    return path if span is None else f"{path} {span[0]:g}–{span[1]:g} s"


def picture(path: str, label: str, thumbnails: Mapping[str, str]) -> str:
    """An image element of a path among `make_thumbnails`, or the path and why it is not shown."""
    uri = thumbnails.get(path, "!")
    if uri.startswith("!"):
        return f'<div class="none">{text(path)}<br>{text(uri[1:])}</div>'
    return f'<img src="{uri}" alt="{text(label)}" title="{text(label)}">'


def sound(path: str, span: Span | None = None) -> str:
    """A player of a small recording, or of a span of any; else its path."""
    uri = audio_uri(path) if span is None else span_uri(path, span)
    if uri is None:
        return f'<p class="none">{text(path)}</p>'
    return f'<audio controls preload="none" src="{uri}"></audio>'
