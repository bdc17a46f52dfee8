"""What a decoding worker does: turns parts into what encoders prepare from.

Torch-free and picklable both ways. A part that cannot be decoded becomes a result that says why;
the only errors are a package that is missing and a defect of ours.
"""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmcli.core.errors import MissingResource
from mmcli.data.files import PartError, read_regular
from mmcli.data.places import is_url
from mmcli.data.recipes import Recipe
from mmcli.data.seen import Seen, content_of, stat_of
from mmcli.data.suffixes import split_suffix

_MESSAGE_CHARACTERS = 300


@dataclass(frozen=True)
class PartTask:
    """One part to decode. value: an absolute path, or the text itself.

    span: seconds of a recording or video, characters of a text file; None is all of it.
    """

    row: int
    modality: str
    value: str
    is_path: bool
    span: tuple[float, float] | None = None


@dataclass
class PartResult:
    """What became of a part. values: one a recipe; None when it failed, and then

    error is a short kind (missing, unreadable, not-a-file, empty, corrupt, too-large, encoding,
    non-finite, memory, unsupported) and message one line. text: the content of a text part. seen:
    of a file that was read whole.
    """

    row: int
    modality: str
    values: tuple[Any, ...] | None
    error: str = ""
    message: str = ""
    text: str | None = None
    seen: Seen | None = None


def decode_parts(
    tasks: Sequence[PartTask], recipes: Mapping[str, tuple[Recipe, ...]]
) -> tuple[list[PartResult], float, float]:
    """One result a task, in order; then the seconds spent reading and decoding.

    recipes: what is wanted of a part, by modality. Sound is read while it is decoded, so its
    reading counts as decoding.
    """
    results: list[PartResult] = []
    clock = _Clock()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about files that are odd but can be read
        for task in tasks:
            results.append(_decode_part(task, recipes.get(task.modality, ()), clock))
            clock.stop()
    return results, clock.read_s, clock.decode_s


class _Clock:
    """Splits the time into reading, up to `bytes_are_here`, and decoding, up to `stop`."""

    def __init__(self) -> None:
        self.read_s = 0.0
        self.decode_s = 0.0
        self._last = time.perf_counter()

    def bytes_are_here(self) -> None:
        self.read_s += self._lap()

    def stop(self) -> None:
        self.decode_s += self._lap()

    def _lap(self) -> float:
        last, self._last = self._last, time.perf_counter()
        return self._last - last


class _File:
    """A file that is read whole, and what it looked like then."""

    def __init__(self, place: str, clock: _Clock) -> None:
        self.seen: Seen | None = None
        self._place = place
        self._clock = clock

    def read(self, max_bytes: int) -> bytes:
        """All of it. Raises PartError."""
        looked = "" if is_url(self._place) else stat_of(self._place)
        content = read_regular(self._place, max_bytes)
        if looked:
            self.seen = Seen(self._place, looked, content_of(content))
        self._clock.bytes_are_here()
        return content


def _decode_part(task: PartTask, recipes: tuple[Recipe, ...], clock: _Clock) -> PartResult:
    try:
        file = _File(task.value, clock)
        values, text = _decode(task, recipes, file)
        return PartResult(task.row, task.modality, values, text=text, seen=file.seen)
    except (MissingResource, ImportError, NameError):
        raise  # an extra that is not installed, or a defect of ours, is no fault of the part
    except PartError as error:
        kind, message = error.kind, error.message
    except MemoryError:
        kind, message = "memory", "does not fit in memory"
    except Exception as error:  # one part must never end a run
        kind, message = "corrupt", f"{type(error).__name__}: {error}"
    message = " ".join(message.split())[:_MESSAGE_CHARACTERS]
    return PartResult(task.row, task.modality, None, kind, message)


def _decode(
    task: PartTask, recipes: tuple[Any, ...], file: _File
) -> tuple[tuple[Any, ...], str | None]:
    """Libraries are imported by the worker that needs them: soundfile not for pictures."""
    if task.modality == "text":
        if not task.is_path:
            text = task.value.removeprefix("\ufeff")
        else:
            from mmcli.data.texts import MAX_TEXT_BYTES, decode_text, read_span

            if task.span is not None:
                text = read_span(task.value, int(task.span[0]), int(task.span[1]))
                return (text,) * len(recipes), text
            text = decode_text(file.read(MAX_TEXT_BYTES))
        return (text,) * len(recipes), text
    if task.modality == "image":
        from mmcli.data.images import MAX_IMAGE_BYTES, decode_images

        content = file.read(MAX_IMAGE_BYTES)
        return tuple(decode_images(content, recipes, split_suffix(task.value)[1])), None
    if task.modality == "speech":
        from mmcli.data.durations import is_container

        if is_container(task.value):
            from mmcli.data.soundtrack import read_soundtrack

            return tuple(read_soundtrack(task.value, recipes, task.span)), None
        from mmcli.data.audio import read_audio

        return tuple(read_audio(task.value, recipes, task.span)), None
    if task.modality == "video":
        from mmcli.data.video import read_video

        return tuple(read_video(task.value, recipes, task.span)), None
    raise PartError("unsupported", f"{task.modality} cannot be decoded")
