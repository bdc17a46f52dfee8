"""What can be said of a part without an encoder: size, format, dimensions, duration, language.

By the header unless asked for more. Torch-free and picklable both ways; never raises: what is wrong
with a part is a fact about it.
"""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from mmcli.core.errors import MissingResource
from mmcli.data.decode import PartTask
from mmcli.data.files import PartError, open_regular
from mmcli.data.suffixes import split_suffix

_BLOCK = 1 << 20
_MESSAGE_CHARACTERS = 300
#: The end of a JPEG is looked for in its second half: a thumbnail near the start has one too.
_JPEG_END = b"\xff\xd9"


@dataclass(frozen=True)
class Probing:
    """What is wanted. digest: of the content. deep: decode all of it, not only the header.

    language: of texts.
    """

    digest: bool = False
    deep: bool = False
    language: bool = False


@dataclass
class PartFacts:
    """One part. error, message: as in `PartResult`, and `unseen` where a package is missing.

    Sizes are zero, and texts empty, where they do not apply. digest: sixteen bytes.
    """

    row: int
    modality: str
    error: str = ""
    message: str = ""
    size_bytes: int = 0
    digest: bytes = b""
    format: str = ""
    width: int = 0
    height: int = 0
    duration_s: float = 0.0
    rate_hz: int = 0
    channels: int = 0
    characters: int = 0
    words: int = 0
    script: str = ""
    language: str = ""


def probe_parts(tasks: Sequence[PartTask], probing: Probing) -> list[PartFacts]:
    """The facts of each part, in order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about files that are odd but can be read
        return [_probe(task, probing) for task in tasks]


def _probe(task: PartTask, probing: Probing) -> PartFacts:
    facts = PartFacts(task.row, task.modality)
    try:
        if task.modality == "text":
            _probe_text(task, facts, probing)
        else:
            _probe_file(task, facts, probing)
    except PartError as error:
        facts.error, facts.message = error.kind, error.message
    except MissingResource as error:
        facts.error, facts.message = "unseen", f"{error.message}: {error.hint}"
    except MemoryError:
        facts.error, facts.message = "memory", "does not fit in memory"
    except (ImportError, NameError):
        raise  # a defect of ours is no fault of the part
    except Exception as error:  # one part must never end a run
        facts.error, facts.message = "corrupt", f"{type(error).__name__}: {error}"
    facts.message = " ".join(facts.message.split())[:_MESSAGE_CHARACTERS]
    return facts


def _probe_text(task: PartTask, facts: PartFacts, probing: Probing) -> None:
    from mmcli.data.scripts import main_script
    from mmcli.data.texts import read_text

    text = read_text(task.value) if task.is_path else task.value.removeprefix("\ufeff")
    content = text.encode("utf-8", "surrogatepass")
    facts.size_bytes, facts.characters, facts.words = len(content), len(text), len(text.split())
    facts.script = main_script(text) or ""
    if probing.language:
        from mmcli.data.languages import language_of

        facts.language = language_of(text)
    if probing.digest:
        facts.digest = hashlib.blake2b(content, digest_size=16).digest()


def _probe_file(task: PartTask, facts: PartFacts, probing: Probing) -> None:
    from mmcli.data.durations import is_container

    limit = 1_000_000_000_000
    with open_regular(task.value, limit) as stream:
        facts.size_bytes = stream.seek(0, 2)
        stream.seek(0)
        if probing.digest:
            facts.digest = _digest(stream)
        if task.modality == "image":
            _probe_picture(task, facts, stream, probing.deep)
            return
    if task.modality == "speech" and not is_container(task.value):
        from mmcli.data.audio import sound_facts

        sound = sound_facts(task.value, probing.deep)
        facts.format, facts.duration_s = sound.format, sound.duration_s
        facts.rate_hz, facts.channels = sound.rate_hz, sound.channels
        return
    _probe_film(task, facts, probing.deep)


def _probe_picture(task: PartTask, facts: PartFacts, stream: BinaryIO, deep: bool) -> None:
    from mmcli.data.images import MAX_IMAGE_BYTES, picture_facts

    if facts.size_bytes > MAX_IMAGE_BYTES:
        raise PartError("too-large", f"has {facts.size_bytes} bytes, more than {MAX_IMAGE_BYTES}")
    stream.seek(0)
    found = picture_facts(stream, split_suffix(task.value)[1], deep)
    facts.format, facts.width, facts.height = found.format, found.width, found.height
    if not deep and _is_cut_short(stream, found.format, facts.size_bytes):
        raise PartError("corrupt", "is cut short")


def _probe_film(task: PartTask, facts: PartFacts, deep: bool) -> None:
    from mmcli.data.media_container import duration_of, first_stream, opened

    with opened(task.value) as container:
        kind = "video" if task.modality == "video" else "audio"
        stream = first_stream(container, kind)
        if stream is None:
            raise PartError("empty", f"holds no {kind}")
        facts.format = str(container.format.name).split(",")[0]
        facts.duration_s = duration_of(task.value, container, stream)
        if kind == "video":
            facts.width, facts.height = int(stream.width or 0), int(stream.height or 0)
        else:
            facts.rate_hz, facts.channels = int(stream.rate or 0), int(stream.channels or 0)
        for _ in container.decode(stream) if deep else ():
            pass


def _digest(stream: BinaryIO) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    while block := stream.read(_BLOCK):
        found.update(block)
    return found.digest()


def _is_cut_short(stream: BinaryIO, format_: str, size: int) -> bool:
    """Whether a picture lacks its end, as a download that broke off does; no pixel is decoded."""
    if format_ == "png":
        stream.seek(max(0, size - 65_536))
        return b"IEND" not in stream.read()
    if format_ == "jpeg":
        stream.seek(size // 2)
        return _JPEG_END not in stream.read()
    if format_ == "webp":
        stream.seek(4)
        return int.from_bytes(stream.read(4), "little") + 8 > size
    return False
