"""Recordings with timed events, as a source has them: read, and refused where they make no sense.

A row has a recording (`speech`), a moving picture (`image`) or both, and a column of events: a list
of {"class", "start_s", "end_s"}, or the same as JSON text. An empty list says that nothing happens,
null that nobody has listened. Opens headers of sounds and pictures only.
"""

import json
import math
import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.contents import exists
from mmcli.data.files import PartError
from mmcli.data.places import locate
from mmcli.data.recipes import AudioRecipe
from mmcli.data.source import Source
from mmcli.data.streams.frames import animation_s
from mmcli.data.suffixes import TABLE_KINDS, split_suffix
from mmcli.data.synth.directory import ITEMS, is_data
from mmcli.data.tables import TableFile

#: The column of events where none is named.
EVENTS = "events"
EVENT_KEYS = ("class", "start_s", "end_s")
#: An event may end so much after its recording: times are rounded, a last frame is shown a while.
SLACK_S = 0.05
#: What the decoders read of a recording; events after it could not be heard.
LONGEST_S = AudioRecipe().max_duration_s
_SHOWN = 'an event is {"class": "knock", "start_s": 1.25, "end_s": 2.9}'
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class TimedEvent:
    """What happens from `start_s` to `end_s`, in seconds from the recording's start."""

    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Recording:
    """One row. speech, image: paths, None where there is none or it cannot be read.

    events: by their start, None where they are not known.
    """

    row: int
    id: str
    duration_s: float
    speech: str | None
    image: str | None
    events: tuple[TimedEvent, ...] | None


@dataclass
class Recordings:
    """The rows of a source. unreadable: rows of which a part, or all, cannot be used, and why."""

    rows: list[Recording]
    where: Callable[[int], str]
    unreadable: dict[int, str] = field(default_factory=dict)

    def lines(self, rows: Iterable[int], most: int = 3) -> list[str]:
        """What a reader must know of these rows: how many cannot be read, and the first ones."""
        found = [row for row in rows if row in self.unreadable]
        lines = [f"{self.where(row)}: {self.unreadable[row]}" for row in found[:most]]
        if len(found) > most:
            lines.append(f"{len(found) - most} more rows have a part that cannot be read")
        return lines


def read_recordings(source: Source, spec: str, column: str, *, labelled: bool) -> Recordings:
    """Every row of a source, with its length and events.

    labelled: whether a column of events has to be there. A row of which nothing can be read has a
    length of 0 and is named in `unreadable`. Raises BadInput, naming file and row, for a recording
    of no or of too great a length, and for events that cannot be.
    """
    where = row_names(spec)
    if not {"speech", "image"} & set(source.modalities):
        raise BadInput(f"`{spec}` has neither `speech` nor `image`", "`--map speech=COLUMN`")
    there = column in source.schema.names
    if labelled and not there:
        raise BadInput(
            f"`{spec}` has no column `{column}`", suggestion(column, source.schema.names)
        )
    found = Recordings([], where)
    for start in range(0, source.n_items, _BLOCK_ROWS):
        block = source.rows(start, start + _BLOCK_ROWS)
        columns = {
            name: block.column(name).to_pylist() if name in block.column_names else None
            for name in ("id", "speech", "image", "duration_s", column)
        }
        for at in range(len(block)):
            cells = {name: values[at] if values else None for name, values in columns.items()}
            row = start + at
            parts = _parts(cells, source.root, row, found)
            duration_s = _duration(cells, parts, row, found)
            events = _events(cells[column], duration_s, lambda row=row: where(row), column)
            found.rows.append(Recording(row, cells["id"], duration_s, *parts, events))
    return found


def row_names(spec: str) -> Callable[[int], str]:
    """How messages call a row, by its number: the file and the line."""
    path = Path(spec) / ITEMS if os.path.isdir(spec) and is_data(spec) else Path(spec)
    kind = TABLE_KINDS.get(split_suffix(str(path))[1])

    def where(row: int) -> str:
        if kind is None:
            return f"`{spec}`: row {row + 1}"
        table, before = TableFile(path, kind, str(path)), 0
        for rows in table.read(None):
            if row < before + len(rows.lines):
                return table.where(rows.lines[row - before])
            before += len(rows.lines)
        return table.where(0)

    return where


def _parts(
    cells: dict[str, Any], root: str, row: int, found: Recordings
) -> tuple[str | None, str | None]:
    """The paths of the parts that can be opened."""
    paths = []
    for name in ("speech", "image"):
        path = locate(root, cells[name]) if cells[name] else None
        if path is not None and not exists(path):
            found.unreadable[row] = f"{name} `{cells[name]}` does not exist"
            path = None
        paths.append(path)
    return paths[0], paths[1]


def _duration(
    cells: dict[str, Any],
    parts: tuple[str | None, str | None],
    row: int,
    found: Recordings,
) -> float:
    """Seconds of the recording, else of the moving picture; 0 where neither can be read."""
    speech, image = parts
    seconds = None
    try:
        if speech is not None:
            seconds = sound_s(speech)
        elif image is not None:
            seconds = animation_s(image) or _number(cells["duration_s"])
            if seconds is None:
                raise BadInput(
                    f"{found.where(row)}: `{cells['image']}` is a still picture, and nothing says"
                    " how long it is shown",
                    "add a recording, or a column `duration_s`",
                )
    except PartError as error:
        name = "image" if speech is None else "speech"
        found.unreadable[row] = f"{name} `{cells[name]}` {error.message}"
        return 0.0
    if seconds is None:
        return 0.0
    name = cells["image"] if speech is None else cells["speech"]
    if seconds <= 0:
        raise BadInput(f"{found.where(row)}: `{name}` has no length", "leave the row out")
    if seconds > LONGEST_S:
        raise BadInput(
            f"{found.where(row)}: `{name}` lasts {seconds:.0f} s, more than {LONGEST_S:.0f}",
            "cut it into pieces",
        )
    return seconds


def sound_s(path: str) -> float:
    """Seconds of a recording by its header, 0 for one without samples. Raises PartError."""
    import soundfile

    if os.path.getsize(path) == 0:
        return 0.0
    try:
        header = soundfile.info(path)
    except soundfile.SoundFileError as error:
        raise PartError("corrupt", "cannot be decoded as sound") from error
    return float(header.frames / header.samplerate)


def _events(
    value: Any, duration_s: float, where: Callable[[], str], column: str
) -> tuple[TimedEvent, ...] | None:
    """The events of a row, each checked and all together."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{where()}: `{column}` is not JSON: `{value[:40]}`", _SHOWN) from error
    if value is None:
        return None
    if not isinstance(value, list):
        raise BadInput(f"{where()}: `{column}` is no list of events", _SHOWN)
    events = [_event(one, n, where) for n, one in enumerate(value, 1)]
    for n, event in enumerate(events, 1):
        if duration_s and event.end_s > duration_s + SLACK_S:
            raise BadInput(
                f"{where()}: event {n} ends at {event.end_s:g} s, the recording at"
                f" {duration_s:g} s",
                "times are seconds from the start of the recording",
            )
    _refuse_overlap(events, where)
    return tuple(sorted(events, key=lambda event: (event.start_s, event.end_s, event.label)))


def _event(value: Any, n: int, where: Callable[[], str]) -> TimedEvent:
    if not isinstance(value, dict):
        raise BadInput(f"{where()}: event {n} is no object", _SHOWN)
    for key, cell in value.items():
        if key not in EVENT_KEYS and cell is not None:
            raise BadInput(
                f"{where()}: event {n} has an unknown key `{key}`", suggestion(key, EVENT_KEYS)
            )
    for key in EVENT_KEYS:
        if value.get(key) is None:
            raise BadInput(f"{where()}: event {n} has no `{key}`", _SHOWN)
    label = value["class"]
    if not isinstance(label, str) or not label.strip():
        raise BadInput(f"{where()}: event {n}: `class` is no name", _SHOWN)
    start_s, end_s = _number(value["start_s"]), _number(value["end_s"])
    if start_s is None or end_s is None:
        key = "start_s" if start_s is None else "end_s"
        raise BadInput(f"{where()}: event {n}: `{key}` is no number of seconds", _SHOWN)
    if start_s < 0:
        raise BadInput(f"{where()}: event {n} starts at {start_s:g} s", "0 is the first moment")
    if end_s <= start_s:
        raise BadInput(
            f"{where()}: event {n} ends at {end_s:g} s and starts at {start_s:g} s",
            "an event has a length",
        )
    return TimedEvent(unicodedata.normalize("NFC", label.strip()), start_s, end_s)


def _refuse_overlap(events: Sequence[TimedEvent], where: Callable[[], str]) -> None:
    """Events of one class that overlap could not be told apart."""
    order = sorted(range(len(events)), key=lambda i: (events[i].label, events[i].start_s))
    for one, other in pairwise(order):
        first, second = events[one], events[other]
        if first.label == second.label and second.start_s < first.end_s:
            raise BadInput(
                f"{where()}: events {one + 1} and {other + 1} are both `{first.label}` and"
                f" overlap at {second.start_s:g} s",
                "join them, or give them classes of their own",
            )


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def refuse_stdin(spec: str) -> None:
    """Raise UsageError where the source is a stream: it is read more than once."""
    if spec == "-":
        raise UsageError("DATA is `-`, and recordings are read more than once", "name a table")
