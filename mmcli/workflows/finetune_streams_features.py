"""Features of recordings with moving pictures: what each moment sounds and looks like.

Sounds become sequences by `extract --sequence`; moving pictures are cut into frames, and each
different frame becomes a vector by `extract`. Both stores lie in the folder of the unfinished run,
where `--resume` finds them. Prints nothing.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.files import PartError
from mmcli.data.streams.frames import cut_frames
from mmcli.data.streams.recordings import Recordings
from mmcli.encoders.registry import PRESETS, resolve
from mmcli.store.atomic import write_bytes
from mmcli.store.bindings import binding
from mmcli.store.manifest import MANIFEST, STATE
from mmcli.store.parquet import open_parquet, read_rows, write_table
from mmcli.store.reader import Store
from mmcli.tasks.streams_tracks import PictureTrack, Shown, SoundTrack, Track
from mmcli.workflows.extract import Listeners as ExtractListeners
from mmcli.workflows.extract import extract
from mmcli.workflows.extract_plan import ExtractConfig
from mmcli.workflows.finetune_config import Listeners

#: What hears and what sees, where nothing else is named: a hundred frames a second at no cost, and
#: ImageNet's features of each picture.
DEFAULT_ENCODERS = {"speech": ("logmel",), "image": ("efficientnet-lite0",)}
MODALITIES = tuple(DEFAULT_ENCODERS)
_SEQUENCES = "name one that hears each moment: logmel, mfcc, whisper-tiny-en"
#: How each is called in a table.
NOUNS = {"speech": "sound", "image": "pictures"}


@dataclass(frozen=True)
class FeatureConfig:
    """Where recordings come from, and who hears and sees them. encoders: by modality."""

    source: str
    encoders: Mapping[str, tuple[str, ...]]
    mapping: Mapping[str, str]
    root: str | None
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
    config: FeatureConfig, recordings: Recordings, folder: Path, listeners: Listeners
) -> StreamFeatures:
    """Extract what is not there yet, and open it. folder: of the unfinished run.

    Raises UsageError for an encoder of sounds that gives no sequence.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{recordings.where(row)}: {why}" for row, why in recordings.unreadable.items()]
    found = StreamFeatures({}, {}, {}, lines)
    for name in config.encoders:
        if name == "speech":
            store = _extract(config, folder / "sound", config.source, name, listeners)
            keys = _sequences(store, config.encoders[name])
            durations = np.array([one.duration_s for one in recordings.rows])
            found.tracks[name] = SoundTrack(store, keys, durations, config.rate_hz)
        else:
            shown, notes = _shown(recordings, folder, listeners)
            found.lines.extend(notes)
            store = _extract(config, folder / "pictures", "", name, listeners)
            keys = list(store.keys)
            found.tracks[name] = PictureTrack(store, keys, shown, config.rate_hz)
        found.lines.extend(_failures(store, name))
        found.stores[name] = store
        found.bindings[name] = {key: binding(store.keys[key]) for key in keys}
    return found


def _extract(
    config: FeatureConfig, path: Path, source: str, modality: str, listeners: Listeners
) -> Store:
    """The store of one modality: made, or found finished."""
    frames = path.parent / "frames"
    if not (path / MANIFEST).is_file():
        of_source = bool(source)
        extract(
            ExtractConfig(
                source=source or str(frames / "frames.jsonl"),
                output=str(path),
                encoders={modality: config.encoders[modality]},
                only=(modality,),
                mapping=config.mapping if of_source else {},
                root=config.root if of_source else None,
                sequence=of_source,
                workers=config.workers,
                device=config.device,
                precision=config.precision,
                resume=(path / STATE).is_file(),
                seed=config.seed,
            ),
            ExtractListeners(listeners.message, listeners.progress),
        )
    if modality == "image":
        shutil.rmtree(frames, ignore_errors=True)
    return Store.open(path, config.verify)


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
    recordings: Recordings, folder: Path, listeners: Listeners
) -> tuple[dict[int, Shown], list[str]]:
    """Which pictures each recording shows, and when; the pictures are cut where that was not done.

    A picture is known by its row in the store of pictures.
    """
    path = folder / "shown.parquet"
    if not path.is_file():
        _cut(recordings, folder, path, listeners)
    table = read_rows(open_parquet(path), path)
    row, start_s, picture = (
        table.column(name).to_numpy() for name in ("row", "start_s", "picture")
    )
    found = {
        int(one): Shown(start_s[row == one], picture[row == one].astype(np.int64))
        for one in np.unique(row[picture >= 0])
    }
    broken = json.loads((folder / "broken.json").read_text("utf-8"))
    return found, [f"{recordings.where(int(row))}: {why}" for row, why in broken.items()]


def _cut(recordings: Recordings, folder: Path, path: Path, listeners: Listeners) -> None:
    """Write every different frame, the table of them, and when each is shown."""
    frames = folder / "frames"
    shutil.rmtree(frames, ignore_errors=True)
    frames.mkdir(parents=True)
    shown: list[tuple[int, float, int]] = []
    numbers: dict[str, int] = {}
    broken: dict[int, str] = {}
    listeners.message("cutting moving pictures into frames")
    with (frames / "frames.jsonl").open("w", encoding="utf-8") as table:
        for done, one in enumerate(recordings.rows, 1):
            if one.image is not None and one.duration_s > 0:
                try:
                    cut = cut_frames(one.image, frames, f"{one.row:07d}")
                except PartError as error:
                    broken[one.row], cut = f"image {error.message}", []
                for start_s, name in cut:
                    if name not in numbers:
                        numbers[name] = len(numbers)
                        table.write(json.dumps({"id": Path(name).stem, "image": name}) + "\n")
                    shown.append((one.row, start_s, numbers[name]))
            listeners.progress(done, len(recordings.rows))
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


def _failures(store: Store, name: str) -> list[str]:
    count = store.manifest.get("failed", 0)
    if not count:
        return []
    first = store.failures().to_pylist()[:1]
    why = f", first: {first[0]['id']}: {first[0]['message']}" if first else ""
    return [f"{count} {NOUNS[name]} could not be embedded{why}"]
