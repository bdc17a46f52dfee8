"""Rows of a source cut into rows of segments, by headers and tokens, before anything is decoded.

A segment has a `parent_id`, and `start_s, end_s` of a recording or video or `start_char, end_char`
of a text. Parts without windows, and all other columns, stand in every segment of their item.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.core.types import PART_COLUMNS
from mmcli.data.durations import media_seconds
from mmcli.data.files import PartError
from mmcli.data.places import locate
from mmcli.data.source import Source
from mmcli.data.texts import read_text
from mmcli.data.windows import TIMED, Span, Window, time_spans, token_spans

PARENT = "parent_id"
TIMES = ("start_s", "end_s")
CHARACTERS = ("start_char", "end_char")
#: First and last character (excluded) of every token of a text.
Tokenise = Callable[[str], Sequence[tuple[int, int]]]
#: Items in one batch of segments.
_BATCH_ITEMS = 512


@dataclass(frozen=True)
class Cutting:
    """What is cut: windows by modality, `tokenise` for texts; soundtrack: a video without a
    recording beside it is one."""

    windows: Mapping[str, Window]
    tokenise: Tokenise | None = None
    soundtrack: bool = False


def cut_source(source: Source, cutting: Cutting, spool_dir: Path) -> Source:
    """The source with a row a segment, in a spool of its own; the old one is dropped.

    Raises BadInput when its columns are named like those of segments.
    """
    taken = [name for name in (*TIMES, *CHARACTERS) if name in source.schema.names]
    if cutting.windows and taken:
        raise BadInput(
            f"the source has a column `{taken[0]}`, which windows make",
            "leave out `--window`: rows with parent_id, start_s and end_s are segments already",
        )
    maker = _Maker(source, cutting)

    def fingerprint() -> str:
        return hashlib.sha256(
            f"{source.fingerprint} {maker.digest.hexdigest()}".encode()
        ).hexdigest()

    return source.respooled(maker.schema, maker.batches(), spool_dir / "segments", fingerprint)


class _Maker:
    """Makes the segments of one item after another."""

    def __init__(self, source: Source, cutting: Cutting) -> None:
        self.source = source
        self.cutting = cutting
        self.digest = hashlib.sha256()
        parts = [part for part in PART_COLUMNS if part in self._parts()]
        self.windows = {m: cutting.windows[m] for m in parts if m in cutting.windows}
        names = list(source.schema.names)
        schema = source.schema
        if "speech" not in names and cutting.soundtrack and "video" in names:
            schema = schema.append(pa.field("speech", pa.string()))
        if self.windows:
            if PARENT not in names:
                schema = schema.insert(1, pa.field(PARENT, pa.string()))
            for name in TIMES if set(TIMED) & set(self.windows) else ():
                schema = schema.append(pa.field(name, pa.float64()))
            for name in CHARACTERS if "text" in self.windows else ():
                schema = schema.append(pa.field(name, pa.int64()))
        self.schema = schema

    def _parts(self) -> set[str]:
        extra = {"speech"} if self.cutting.soundtrack and "video" in self.source.modalities else ()
        return {*self.source.modalities, *extra}

    def batches(self) -> Iterator[pa.Table]:
        """The segments, in the order of their items."""
        for start in range(0, self.source.n_items, _BATCH_ITEMS):
            rows: list[dict[str, Any]] = []
            for item in self.source.rows(start, start + _BATCH_ITEMS).to_pylist():
                rows += self._segments(item)
            for row in rows:
                place = (row["id"], *(row.get(name) for name in (*TIMES, *CHARACTERS)))
                self.digest.update(repr((*place, row.get("speech"))).encode())
            yield pa.Table.from_pylist(rows, schema=self.schema)

    def _segments(self, item: dict[str, Any]) -> list[dict[str, Any]]:
        seconds = self._seconds(item)
        if self.cutting.soundtrack and item.get("video") and not item.get("speech"):
            item["speech"] = item["video"] if seconds.get("soundtrack") else None
            if item["speech"]:
                seconds["speech"] = seconds["soundtrack"]
        if not self.windows:
            return [item]
        item[PARENT] = item.get(PARENT) or item["id"]
        has = [modality for modality in self.windows if item.get(modality)]
        if not has:
            return [item]
        rows: list[dict[str, Any]] = []
        for group in self._groups(has):
            others = dict.fromkeys(m for m in has if m not in group)
            rows += [{**item, **others, **row} for row in self._spans(item, group, seconds)]
        for number, row in enumerate(rows):
            row["id"] = f"{item['id']}#{number:04d}"
        return rows

    def _groups(self, has: Sequence[str]) -> list[list[str]]:
        """Modalities that share their segments: recording and video of one window, else alone."""
        groups: list[list[str]] = []
        for modality in has:
            timed = [g for g in groups if modality in TIMED and g[0] in TIMED]
            same = [g for g in timed if self.windows[g[0]] == self.windows[modality]]
            if same:
                same[0].append(modality)
            else:
                groups.append([modality])
        return groups

    def _spans(
        self, item: Mapping[str, Any], group: Sequence[str], seconds: Mapping[str, float]
    ) -> list[dict[str, Any]]:
        window = self.windows[group[0]]
        if group[0] == "text":
            return self._texts(item, window)
        duration_s = max(seconds.get(m, 0.0) for m in group)
        if duration_s <= 0:  # a file that cannot be read: it will fail where it is decoded
            return [dict.fromkeys(TIMES)]
        rows: list[dict[str, Any]] = []
        for start_s, end_s in time_spans(duration_s, window):
            over = {m: None for m in group if m in seconds and seconds[m] <= start_s}
            rows.append({**over, **dict(zip(TIMES, (start_s, end_s), strict=True))})
        return rows

    def _texts(self, item: Mapping[str, Any], window: Window) -> list[dict[str, Any]]:
        text = str(item["text"])
        if self.source.text_is_path:
            try:
                text = read_text(self._where(text))
            except PartError:
                return [dict.fromkeys(CHARACTERS)]
        assert self.cutting.tokenise is not None
        tokens = [t for t in self.cutting.tokenise(text) if t[0] < t[1]]
        spans: list[Span] = token_spans(text, tokens, window) if tokens else [(0, len(text))]
        rows: list[dict[str, Any]] = []
        for start, end in spans:
            row: dict[str, Any] = dict(zip(CHARACTERS, (int(start), int(end)), strict=True))
            if not self.source.text_is_path:
                row["text"] = text[int(start) : int(end)]
            rows.append(row)
        return rows

    def _seconds(self, item: Mapping[str, Any]) -> dict[str, float]:
        """Durations of the parts that are cut in time, of those that can be read."""
        found: dict[str, float] = {}
        wanted = [m for m in TIMED if m in self.windows and item.get(m)]
        for modality in wanted:
            try:
                found[modality] = media_seconds(self._where(item[modality]), modality)
            except PartError:
                continue
        if self.cutting.soundtrack and item.get("video") and not item.get("speech"):
            try:
                found["soundtrack"] = media_seconds(self._where(item["video"]), "speech")
            except PartError:
                found["soundtrack"] = 0.0
        return found

    def _where(self, value: str) -> str:
        return locate(self.source.root, value)


def spans_of(table: pa.Table, modality: str, text_is_path: bool) -> list[Span | None]:
    """The span of each row's part, None for all of it: rows of segments have `parent_id`."""
    names = CHARACTERS if modality == "text" and text_is_path else TIMES
    segments = PARENT in table.schema.names and set(names) <= set(table.schema.names)
    if not segments or modality == "image" or (modality == "text" and not text_is_path):
        return [None] * len(table)
    starts, ends = (table.column(name).to_pylist() for name in names)
    return [
        None if not _is_number(start) or not _is_number(end) or end <= start else (start, end)
        for start, end in zip(starts, ends, strict=True)
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and value >= 0
