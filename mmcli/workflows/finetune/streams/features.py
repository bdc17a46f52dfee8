"""Features of recordings with moving pictures: what each moment sounds and looks like.

Sounds become sequences by `extract --sequence`; moving pictures are cut into frames, and each
different frame becomes a vector by `extract`. Both stores lie in the folder of the unfinished run,
where `--resume` finds them. Prints nothing.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.files import PartError
from mmcli.data.streams.frames import cut_frames
from mmcli.data.streams.recordings import Recording, Recordings
from mmcli.encoders.registry import PRESETS, resolve
from mmcli.store.atomic import write_bytes
from mmcli.store.bindings import binding
from mmcli.store.manifest import MANIFEST, STATE
from mmcli.store.parquet import open_parquet, read_rows, write_table
from mmcli.store.reader import Store
from mmcli.tasks.streams_tracks import PictureTrack, Shown, SoundTrack, Track
from mmcli.workflows.extract.plan import ExtractConfig
from mmcli.workflows.extract.run import extract
from mmcli.workflows.listeners import Listeners

#: What hears and what sees, where nothing else is named. On held-out real recordings log-mel and
#: Whisper's states together have a mean average precision of 0.43, alone 0.30 and 0.40
#: (tests/bench/real_events.py).
DEFAULT_ENCODERS = {
    "speech": ("logmel", "whisper-tiny-en"),
    "image": ("efficientnet-lite0",),
}
MODALITIES = tuple(DEFAULT_ENCODERS)
_SEQUENCES = "name one that hears each moment: logmel, mfcc, whisper-tiny-en"
#: Digits of a row's number in the tables of parts.
_DIGITS = 8
#: How each is called in a table.
NOUNS = {"speech": "sound", "image": "pictures"}


@dataclass(frozen=True)
class FeatureConfig:
    """Who hears and sees the recordings, and on what grid. encoders: by modality."""

    encoders: Mapping[str, tuple[str, ...]]
    rate_hz: float
    workers: int | None = None
    device: str = "auto"
    precision: str = "auto"
    seed: int = 0
    verify: str = "once"


@dataclass(frozen=True)
class StreamFeatures:
    """tracks: by modality. bindings: what is kept of each key, by modality. lines: what a reader
    must know of parts that could not be used."""

    tracks: dict[str, Track]
    bindings: dict[str, dict[str, dict[str, Any]]]
    stores: dict[str, Store]
    lines: list[str]


def stream_encoders(
    preset: str, encoders: Mapping[str, tuple[str, ...]], only: tuple[str, ...], there: Any
) -> dict[str, tuple[str, ...]]:
    """References for each modality that the source has and the user wants.

    Raises UsageError for another modality, or a reference that nobody knows.
    """
    for name in (*encoders, *only):
        if name not in MODALITIES:
            raise UsageError(
                f"recordings have no {name}", "events are heard (speech) and seen (image)"
            )
    known = dict(DEFAULT_ENCODERS)
    if preset != "starter":
        known |= {m: (r,) for m, r in PRESETS.get(preset).encoders.items() if m in MODALITIES}
    found = {
        name: tuple(encoders.get(name) or known[name])
        for name in MODALITIES
        if name in there and (not only or name in only)
    }
    for name, references in found.items():
        for reference in references:
            spec = resolve(reference, name).spec
            if spec is not None and spec.columns:
                raise UsageError(
                    f"`--{name} {reference}` says words, not when they were said", _SEQUENCES
                )
    if not found:
        raise BadInput("no recording has any of " + ", ".join(only), "see `--only`")
    return found


def stream_features(
    config: FeatureConfig,
    recordings: Recordings,
    rows: Sequence[int],
    folder: Path,
    listeners: Listeners,
) -> StreamFeatures:
    """Extract what is not there yet of these rows, and open it. folder: of the unfinished run.

    Raises UsageError for an encoder of sounds that gives no sequence.
    """
    folder.mkdir(parents=True, exist_ok=True)
    some = [recordings.rows[row] for row in rows if recordings.rows[row].duration_s > 0]
    found = StreamFeatures({}, {}, {}, [])
    for name in config.encoders:
        if name == "speech":
            heard = [one for one in some if one.speech is not None]
            table = _sounds(folder, heard)
            store = _extract(config, folder / "sound", table, name, listeners)
            keys = _sequences(store, config.encoders[name])
            durations = {one.row: one.duration_s for one in heard}
            found.tracks[name] = SoundTrack(store, keys, durations, config.rate_hz)
        else:
            shown, notes = _shown(recordings, some, folder, listeners)
            found.lines.extend(notes)
            table = folder / "frames" / "frames.jsonl"
            store = _extract(config, folder / "pictures", table, name, listeners)
            shutil.rmtree(table.parent, ignore_errors=True)
            keys = list(store.keys)
            found.tracks[name] = PictureTrack(store, keys, shown, config.rate_hz)
        found.lines.extend(_failures(store, name, recordings))
        found.stores[name] = store
        found.bindings[name] = {key: binding(store.keys[key]) for key in keys}
    return found


def _extract(
    config: FeatureConfig, path: Path, table: Path, modality: str, listeners: Listeners
) -> Store:
    """The store of one modality: made from a table of parts, or found finished."""
    if not (path / MANIFEST).is_file():
        extract(
            ExtractConfig(
                source=str(table),
                output=str(path),
                encoders={modality: config.encoders[modality]},
                only=(modality,),
                sequence=modality == "speech",
                workers=config.workers,
                device=config.device,
                precision=config.precision,
                resume=(path / STATE).is_file(),
                seed=config.seed,
            ),
            listeners,
        )
    return Store.open(path, config.verify)


def _sounds(folder: Path, heard: Sequence[Recording]) -> Path:
    """A table of the recordings that have a sound, called by their rows."""
    if not heard:
        raise BadInput("no recording can be read", "`--only image` leaves them out")
    path = folder / "sound.jsonl"
    rows = ({"id": _id_of(one.row), "speech": os.path.abspath(str(one.speech))} for one in heard)
    write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return path


def _id_of(row: int) -> str:
    return f"{row:0{_DIGITS}d}"


def _sequences(store: Store, references: tuple[str, ...]) -> list[str]:
    keys = list(store.keys)
    for key, reference in zip(keys, references, strict=True):
        if not store.keys[key]["sequence"]:
            shutil.rmtree(store.path.parent)  # nothing to go on from
            raise UsageError(
                f"`--speech {reference}` says one thing of a whole recording",
                _SEQUENCES,
            )
    return keys


def _shown(
    recordings: Recordings, some: Sequence[Recording], folder: Path, listeners: Listeners
) -> tuple[dict[int, Shown], list[str]]:
    """Which pictures each recording shows, and when; the pictures are cut where that was not done.

    A picture is known by its row in the store of pictures.
    """
    path = folder / "shown.parquet"
    if not path.is_file():
        _cut(some, folder, path, listeners)
    table = read_rows(open_parquet(path), path)
    row, start_s, picture = (
        table.column(name).to_numpy() for name in ("row", "start_s", "picture")
    )
    numbers, first = np.unique(row, return_index=True)  # rows are in order
    parts = (np.split(values, first[1:]) for values in (start_s, picture.astype(np.int64)))
    found = {
        int(one): Shown(starts, pictures)
        for one, starts, pictures in zip(numbers, *parts, strict=True)
    }
    broken = json.loads((folder / "broken.json").read_text("utf-8"))
    return found, [f"{recordings.where(int(one))}: {why}" for one, why in broken.items()]


def _cut(some: Sequence[Recording], folder: Path, path: Path, listeners: Listeners) -> None:
    """Write every different frame, the table of them, and when each is shown."""
    frames = folder / "frames"
    shutil.rmtree(frames, ignore_errors=True)
    frames.mkdir(parents=True)
    shown: list[tuple[int, float, int]] = []
    numbers: dict[str, int] = {}
    broken: dict[int, str] = {}
    listeners.message("cutting moving pictures into frames")
    with (frames / "frames.jsonl").open("w", encoding="utf-8") as table:
        for done, one in enumerate(some, 1):
            if one.image is not None:
                try:
                    cut = cut_frames(one.image, frames, _id_of(one.row))
                except PartError as error:
                    broken[one.row], cut = f"image {error.message}", []
                for start_s, name in cut:
                    if name not in numbers:
                        numbers[name] = len(numbers)
                        table.write(json.dumps({"id": Path(name).stem, "image": name}) + "\n")
                    shown.append((one.row, start_s, numbers[name]))
            listeners.progress(done, len(some))
    if not numbers:
        raise BadInput("no moving picture can be read", "`--only speech` leaves them out")
    write_bytes(folder / "broken.json", json.dumps(broken).encode())
    columns = list(zip(*shown, strict=True))
    write_table(
        path,
        pa.table(
            {
                "row": pa.array(columns[0], pa.int64()),
                "start_s": pa.array(columns[1], pa.float64()),
                "picture": pa.array(columns[2], pa.int64()),
            }
        ),
    )


def _failures(store: Store, name: str, recordings: Recordings) -> list[str]:
    count = store.manifest.get("failed", 0)
    if not count:
        return []
    first = store.failures().to_pylist()[0]
    where = recordings.where(int(first["id"][:_DIGITS]))
    return [f"{count} of {NOUNS[name]} could not be embedded, first {where}: {first['message']}"]
