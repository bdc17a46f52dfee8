"""How long a recording or a video is, by its header: nothing is decoded."""

from mmcli.data.files import PartError
from mmcli.data.suffixes import FILM_SOUND, modality_of, split_suffix


def media_seconds(path: str, modality: str) -> float:
    """Seconds of the file's sound (`speech`) or pictures (`video`). Raises PartError.

    Also MissingResource for a video where PyAV is not installed.
    """
    if modality == "speech" and not is_container(path):
        from mmcli.data.audio import sound_seconds

        return sound_seconds(path)
    from mmcli.data.media_container import media_facts

    facts = media_facts(path)
    seconds = facts.video_s if modality == "video" else facts.audio_s
    if seconds <= 0:
        raise PartError("empty", "holds no sound" if modality == "speech" else "holds no video")
    return seconds


def is_container(path: str) -> bool:
    """Whether a file, by its name, is a video or sound that only PyAV reads."""
    suffix = split_suffix(path)[1]
    return suffix in FILM_SOUND or modality_of(suffix) == "video"
