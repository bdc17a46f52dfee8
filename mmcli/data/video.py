"""Reads frames of a video with PyAV: at uniform times, upright, cut and scaled as pictures are.

Only what lies between a key frame and the frames asked for is decoded. Knows no model.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from mmcli.data.files import PartError
from mmcli.data.images import MAX_PIXELS, Picture, apply_recipe
from mmcli.data.media_container import duration_of, first_stream, load_av, opened, starts_at
from mmcli.data.recipes import VideoRecipe

#: A frame that is this many seconds ahead may be worth a seek, where no index says.
_WORTH_SEEKING_S = 2.0
#: A video may end this much before its header says: last frames, rounding, a longer sound track.
_SLACK_S = 0.5
_SLACK = 0.05
_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


def read_video(
    path: str, recipes: Sequence[VideoRecipe], span: tuple[float, float] | None = None
) -> list["np.ndarray[Any, Any]"]:
    """uint8 `(frames, height, width, 3)` a recipe, of the span or of all. Raises PartError."""
    with opened(path) as container:
        stream = first_stream(container, "video")
        if stream is None:
            raise PartError("empty", "holds no video")
        _check_size(stream)
        pixel_ratio = float(stream.sample_aspect_ratio or 1)
        start, end = span or (0.0, duration_of(path, container, stream))
        wanted = sorted(
            (time_s, number, frame)
            for number, recipe in enumerate(recipes)
            for frame, time_s in enumerate(frame_times(start, end, recipe.frames))
        )
        times = sorted({time_s for time_s, _, _ in wanted})
        shown = dict(zip(times, _frames_at(container, stream, times, end), strict=True))
        cut: dict[tuple[int, int], Any] = {}
        results: list[list[Any]] = [[] for _ in recipes]
        for time_s, number, _ in wanted:
            at = (id(shown[time_s]), number)
            if at not in cut:
                cut[at] = np.asarray(_cut(shown[time_s], recipes[number], pixel_ratio))
            results[number].append(cut[at])
    return [np.stack(frames) for frames in results]


def frame_times(start_s: float, end_s: float, count: int) -> list[float]:
    """The middles of `count` equal parts of a span."""
    step = (end_s - start_s) / count
    return [start_s + (i + 0.5) * step for i in range(count)]


def _check_size(stream: Any) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise PartError("too-large", f"is {width}x{height}, more than {MAX_PIXELS} pixels")


def _frames_at(container: Any, stream: Any, times: Sequence[float], end: float) -> Iterator[Any]:
    """The frame on the screen at each of the ascending times.

    Raises PartError when the video ends well before them.
    """
    zero = starts_at(container)
    stream.codec_context.thread_count = 1  # the workers are the parallelism
    worth = _WORTH_SEEKING_S
    frames = _decoded(container, stream)
    held: Any = None
    ahead: Any = None
    for time_s in times:
        position = None if held is None else _time(held, zero)
        if _should_seek(stream, position, time_s, zero, worth):
            _seek(container, stream, time_s + zero)
            frames, held, ahead = _decoded(container, stream), None, None
            first = next(frames, None)
            if first is None and position is None and time_s > 0:  # what cannot be sought in
                _seek(container, stream, zero)
                frames = _decoded(container, stream)
                first = next(frames, None)
            if position is not None and first is not None and _time(first, zero) <= position:
                worth *= 2  # that was for nothing: key frames are farther apart
            ahead = first
        while ahead is None or _time(ahead, zero) <= time_s:
            held = ahead if ahead is not None else held
            ahead = next(frames, None)
            if ahead is None:
                break
        chosen = held if held is not None else ahead
        if chosen is None or _ends_early(ahead, chosen, time_s, zero, end):
            seen = "" if chosen is None else f" after {_time(chosen, zero):.1f} s"
            raise PartError("corrupt", f"is cut short: it has no frame{seen} of {end:.1f} s")
        yield chosen


def _ends_early(ahead: Any, chosen: Any, time_s: float, zero: float, end: float) -> bool:
    late = time_s - _time(chosen, zero)
    return ahead is None and late > max(_SLACK_S, _SLACK * end)


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames that have a time; packets that cannot be decoded are passed over."""
    av = load_av()
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        for frame in frames:
            if frame.pts is not None:
                if frame.width * frame.height > MAX_PIXELS:
                    raise PartError("too-large", f"has frames of more than {MAX_PIXELS} pixels")
                yield frame


def _should_seek(
    stream: Any, position: float | None, time_s: float, zero: float, worth: float
) -> bool:
    """Whether a key frame lies between the frame that is held and the one that is wanted."""
    base = float(stream.time_base)
    index = stream.index_entries
    if position is None:
        return time_s > worth
    if time_s - position <= worth / 8:
        return False
    if len(index) > 1:
        at = index.search_timestamp(int((time_s + zero) / base), backward=True, any_frame=False)
        return at >= 0 and index[at].timestamp * base - zero > position
    return time_s - position > worth


def _seek(container: Any, stream: Any, clock_s: float) -> None:
    """To the last key frame at or before the time."""
    container.seek(int(clock_s / float(stream.time_base)), stream=stream, backward=True)


def _time(frame: Any, zero: float) -> float:
    return float(frame.pts * frame.time_base) - zero


def _cut(frame: Any, recipe: VideoRecipe, pixel_ratio: float) -> Picture:
    """A frame upright, as the recipe cuts a picture. pixel_ratio: width of a pixel by height."""
    picture: Picture = frame.to_image()
    width, height = picture.size
    width = max(1, round(width * pixel_ratio))
    turn = round(frame.rotation / 90) * 90 % 360
    if turn in _TURNS:
        picture = picture.transpose(_TURNS[turn])
        if turn != 180:
            width, height = height, width
    return apply_recipe(picture, recipe.frame, (width, height))
