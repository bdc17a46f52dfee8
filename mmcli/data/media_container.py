"""Opens a film or a container of sound with PyAV (FFmpeg): local files of known formats only.

Header facts: how long, which streams. Decodes nothing. Playlists and scripts, which can name other
files and addresses, are not among the formats.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mmcli.core.errors import MissingResource
from mmcli.data.audio import MAX_DURATION_S
from mmcli.data.files import PartError, is_plain, open_regular

HINT = "pip install 'mmcli[video]'"
#: A day of broadcast video; only the frames asked for are ever decoded.
MAX_VIDEO_BYTES = 1_000_000_000_000
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,ogg,asf,flv,aac,amr"
_MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class MediaFacts:
    """What a header says: seconds of the film's pictures and sound, 0 where it has none."""

    video_s: float = 0.0
    audio_s: float = 0.0


def load_av() -> Any:
    """The PyAV module, its log silenced. Raises MissingResource when it is not installed."""
    try:
        import av
        import av.logging
    except ImportError as error:
        raise MissingResource("package `av` (PyAV) is not installed", HINT) from error
    av.logging.set_level(av.logging.PANIC)
    return av


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """The open container. Raises PartError when it cannot be opened or is none of the formats."""
    av = load_av()
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
    settings = {"metadata_errors": "replace", "container_options": options}
    try:
        with open_regular(path, MAX_VIDEO_BYTES) as stream:
            source = os.path.abspath(path) if is_plain(path) else stream
            with av.open(source, **settings) as container:
                yield container
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, MemoryError):
            raise
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise PartError("corrupt", f"cannot be decoded: {reason.lower()}") from error


def media_facts(path: str) -> MediaFacts:
    """Durations by the header, or by the packets where it says none. Raises PartError."""
    with opened(path) as container:
        video, audio = first_stream(container, "video"), first_stream(container, "audio")
        return MediaFacts(
            0.0 if video is None else duration_of(path, container, video),
            0.0 if audio is None else duration_of(path, container, audio),
        )


def first_stream(container: Any, kind: str) -> Any:
    """The best stream of a kind, None when there is none; a cover picture is no video."""
    picture = 0x400  # AV_DISPOSITION_ATTACHED_PIC of FFmpeg's avformat.h
    streams = getattr(container.streams, kind)
    return next((s for s in streams if not int(s.disposition) & picture), None)


def starts_at(container: Any) -> float:
    """The time that counts as zero, in seconds of the container's clock."""
    return (container.start_time or 0) / _MICROSECONDS


def duration_of(path: str, container: Any, stream: Any) -> float:
    """Seconds from the container's zero to the end of the stream.

    Raises PartError for none and for more than MAX_DURATION_S.
    """
    found = _stated(container, stream)
    if found <= 0:
        found = _last_packet(path, stream.index)
    if found <= 0:
        raise PartError("empty", f"holds no {stream.type}")
    if found > MAX_DURATION_S:
        raise PartError("too-large", f"says it lasts {found:.0f} s, more than {MAX_DURATION_S:.0f}")
    return found


def _stated(container: Any, stream: Any) -> float:
    """What the header says, 0 where it says nothing."""
    zero = starts_at(container)
    if stream.duration and stream.time_base:
        first = float((stream.start_time or 0) * stream.time_base)
        return float(stream.duration * stream.time_base) + first - zero
    told = _clock(stream.metadata.get("DURATION", ""))
    if told:
        return told - zero
    return (container.duration or 0) / _MICROSECONDS


def _clock(text: str) -> float:
    """Seconds of `00:02:00.5`, as Matroska writes a track's length; 0 for anything else."""
    parts = text.split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return 0.0
    return hours * 3600 + minutes * 60 + seconds


def _last_packet(path: str, index: int) -> float:
    """The end of the last packet: for recordings that were streamed, whose header says nothing."""
    with opened(path) as container:
        zero, end = starts_at(container), 0.0
        for packet in container.demux(container.streams[index]):
            if packet.pts is not None:
                length = packet.duration or 0
                end = max(end, float((packet.pts + length) * packet.time_base) - zero)
        return end
