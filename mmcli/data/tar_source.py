"""WebDataset archives as items: members of one key are one item, JSON members become columns.

The pairing is done in an SQLite file, so that memory stays bounded. Members are read by the
workers, from the archive, by the offsets that stand in the items' columns; only JSON and class
members are read here.
"""

import hashlib
import json
import os
import sqlite3
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.types import PART_COLUMNS
from mmcli.data.folders import BATCH_ROWS, count_ignored, printable
from mmcli.data.places import bytes_place, is_url, link_place
from mmcli.data.schema import ValueColumn
from mmcli.data.suffixes import modality_of
from mmcli.data.table_source import check_columns
from mmcli.data.tar_members import Member, key_and_suffix, read_members

_MAX_JSON_BYTES = 16_000_000
_Group = list[tuple[str, Member]]


class TarSource:
    """Scanned archives; has what a table has: `schema`, `batches`, `fingerprint`.

    archives: paths or URLs, relative to root as `places` names them. Raises BadInput naming the
    archive and member of whatever is wrong.
    """

    def __init__(
        self,
        archives: Sequence[str],
        root: str,
        mapping: Mapping[str, str],
        database: Path,
        explode: str | None = None,
    ) -> None:
        self.ignored: dict[str, int] = {}
        self._archives = list(archives)
        self._root = root
        self._mapping = mapping
        self._explode = explode
        self._ours = {theirs: ours for ours, theirs in mapping.items()}
        if len(self._ours) < len(mapping):
            raise UsageError("`--map` names one column twice", "map each column once")
        self._present: set[str] = set()
        self._columns: dict[str, ValueColumn] = {}
        self._theirs: dict[str, None] = {}
        self._digest = hashlib.sha256()
        self._shown: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self._path = database
        self._open_database()
        try:
            for number, archive in enumerate(self._archives):
                self._scan(number, archive)
            self._see()
            self._check()
        except BaseException:
            self.close()
            raise
        parts = [part for part in PART_COLUMNS if part in self._present]
        fields = [(name, pa.string()) for name in ("id", *parts)]
        fields += [(name, column.arrow_type()) for name, column in self._columns.items()]
        self.schema = pa.schema(fields)
        self.text_is_path = "text" in self._present
        self.fingerprint = self._digest.hexdigest()

    def batches(self) -> Iterator[pa.Table]:
        """The items, in the archives' order, in the types of `schema`."""
        parts = [part for part in PART_COLUMNS if part in self._present]
        rows = self._database.execute(
            f"SELECT {', '.join(['id', *parts])}, told, archive FROM items ORDER BY seq"
        )
        while batch := rows.fetchmany(BATCH_ROWS):
            ids, *columns, told, archives = zip(*batch, strict=True)
            arrays = [pa.array(column, pa.string()) for column in (ids, *columns)]
            found = [json.loads(one) if one else {} for one in told]
            names = (self._archives[number] for number in archives)
            self._shown = [f"`{a}`: item `{i}`" for a, i in zip(names, ids, strict=True)]
            for name, column in self._columns.items():
                values = [one.get(name) for one in found]
                arrays.append(column.convert(values, range(len(found))))
            yield pa.Table.from_arrays(arrays, schema=self.schema)

    def close(self) -> None:
        """Drop the database."""
        self._database.close()
        self._path.unlink(missing_ok=True)

    # -- scanning --------------------------------------------------------------------------

    def _open_database(self) -> None:
        self._path.unlink(missing_ok=True)
        self._database = sqlite3.connect(self._path, isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-65536"):
            self._database.execute(f"PRAGMA {pragma}")
        columns = ", ".join(f"{name} TEXT" for name in (*PART_COLUMNS, "told"))
        self._database.execute(
            f"CREATE TABLE items (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, archive INT, {columns})"
        )
        self._database.execute("BEGIN")

    def _scan(self, number: int, archive: str) -> None:
        self._digest.update(_mark_of(archive).encode() + b"\0")
        with _open_archive(archive) as stream:
            key, group = "", list[tuple[str, Member]]()
            for member in read_members(stream, printable(archive)):
                found = key_and_suffix(member.name)
                self._digest.update(f"{printable(member.name)}\0{member.size}\n".encode())
                if found is None:
                    count_ignored(self.ignored, os.path.splitext(member.name)[1].lower())
                    continue
                if found[0] != key and group:
                    self._take(number, key, group, stream)
                    group = []
                key = found[0]
                group.append((found[1], member))
            if group:
                self._take(number, key, group, stream)

    def _take(self, number: int, key: str, group: _Group, stream: BinaryIO) -> None:
        """One item, or some of the members of one that are scattered over an archive."""
        archive = self._archives[number]
        item_id = unicodedata.normalize("NFC", printable(key))
        cells, told = self._sorted_out(archive, item_id, group, stream)
        if not cells and not told:
            return
        fresh = dict(cells)
        if told is not None:
            row = self._renamed(told, item_id)
            fresh["told"] = json.dumps(row)
            self._shown.append(f"`{printable(archive)}`: item `{item_id}`")
            self._rows.append(row)
            if len(self._rows) >= BATCH_ROWS:
                self._see()
        self._database.execute(
            "INSERT INTO items (id, archive) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (item_id, number),
        )
        for name, value in fresh.items():
            changed = self._database.execute(
                f"UPDATE items SET {name} = ? WHERE id = ? AND archive = ? AND {name} IS NULL",
                (value, item_id, number),
            )
            if changed.rowcount == 0:
                raise self._conflict(item_id, name, archive, group)
        self._present |= cells.keys()

    def _sorted_out(
        self, archive: str, item_id: str, group: _Group, stream: BinaryIO
    ) -> tuple[dict[str, str], dict[str, Any] | None]:
        """The places of the parts, and what JSON and class members say."""
        chosen: dict[str, tuple[str, Member]] = {}
        told: dict[str, Any] | None = None
        for suffix, member in sorted(group, key=lambda pair: "." in pair[0]):
            last = suffix.rpartition(".")[2]
            modality = modality_of(f".{last}")
            if suffix in ("json", "cls"):
                told = {**(told or {}), **_told(archive, suffix, member, stream)}
            elif modality is None or ("." in suffix and modality in chosen):
                count_ignored(self.ignored, f".{suffix}" if suffix else "")
            elif modality in chosen:
                names = (printable(chosen[modality][1].name), printable(member.name))
                raise _two_members(archive, modality, *names, item_id)
            else:
                chosen[modality] = (suffix, member)
        cells = {m: self._place(archive, member) for m, (_, member) in chosen.items()}
        return cells, told

    def _place(self, archive: str, member: Member) -> str:
        file = archive
        if not is_url(archive):
            file = printable(os.path.relpath(os.path.abspath(archive), self._root))
        elif archive.startswith(self._root.rstrip("/") + "/"):
            file = archive[len(self._root.rstrip("/")) + 1 :]
        name = printable(member.name)
        if member.is_link:
            return link_place(file, name)
        return bytes_place(file, member.offset, member.size, name)

    def _renamed(self, told: dict[str, Any], item_id: str) -> dict[str, Any]:
        """What JSON says under our names; an `id` that is the key says nothing new."""
        self._theirs.update(dict.fromkeys(told))
        row = {self._ours.get(name, name): value for name, value in told.items()}
        if row.get("id") == item_id:
            del row["id"]
        return row

    def _see(self) -> None:
        """Learn the types of the gathered rows."""
        rows, self._rows = self._rows, []
        for name in dict.fromkeys(name for row in rows for name in row):
            column = self._columns.get(name)
            if column is None:
                where = next(w for w, row in zip(self._shown, rows, strict=True) if name in row)
                self._refuse_name(name, where)
                column = ValueColumn(name, lambda line: self._shown[line], name == self._explode)
                self._columns[name] = column
            column.see([row.get(name) for row in rows], range(len(rows)))
        self._shown = []

    def _refuse_name(self, name: str, where: str) -> None:
        theirs = self._mapping.get(name, name)
        if name == "id":
            raise BadInput(
                f"{where}: its JSON has an `{theirs}` that is not its key",
                f"the key is the id; keep the other: `--map json_id={theirs}`",
            )
        if name in PART_COLUMNS and name != "text":
            raise BadInput(
                f"{where}: its JSON has a column `{name}`, which members are",
                f"rename it: `--map json_{name}={theirs}`",
            )

    def _check(self) -> None:
        first = self._archives[0]
        name = printable(first) + (" …" if len(self._archives) > 1 else "")
        if "text" in self._columns and "text" in self._present:
            raise BadInput(
                f"`{name}`: its JSON has a column `text`, and `.txt` members are the text too",
                "rename it: `--map json_text=text`",
            )
        if not self._present and "text" not in self._columns:
            hint = "an item is a key with .jpg, .txt, .wav … members"
            raise BadInput(f"`{name}` holds no image, text, speech or video member", hint)
        names = ["id", *self._present, *self._columns]
        check_columns(name, names, self._mapping, self._ours, self._theirs)

    def _conflict(self, item_id: str, name: str, archive: str, group: _Group) -> BadInput:
        row = self._database.execute(
            f"SELECT archive, {', '.join((*PART_COLUMNS, 'told'))} FROM items WHERE id = ?",
            (item_id,),
        ).fetchone()
        before = dict(zip((*PART_COLUMNS, "told"), row[1:], strict=True))
        members = [m for s, m in group if modality_of(f".{s.rpartition('.')[2]}") == name]
        mine = printable((members or [m for _, m in group])[0].name)
        if row[0] != self._archives.index(archive):
            place = next((before[p] for p in PART_COLUMNS if before[p]), None)
            theirs = f"{item_id}.json" if place is None else place.partition("#")[2]
            return BadInput(
                f"`{printable(archive)}`: `{mine}` has the key of"
                f" `{theirs.partition(':')[2] or theirs}` in"
                f" `{printable(self._archives[row[0]])}`: `{item_id}`",
                "keys must be unique over all archives: pack one of them under a folder",
            )
        theirs = f"{item_id}.json" if name == "told" else before[name].partition("#")[2]
        theirs = theirs.partition(":")[2] or theirs
        return _two_members(archive, "JSON" if name == "told" else name, theirs, mine, item_id)


def _open_archive(archive: str) -> BinaryIO:
    if is_url(archive):
        from mmcli.data.remote import open_source_file

        return open_source_file(archive)
    return Path(archive).open("rb")


def _mark_of(archive: str) -> str:
    """What changes when the archive does."""
    if is_url(archive):
        from mmcli.data.remote import file_mark

        return file_mark(archive)
    status = os.stat(archive)
    return f"{printable(archive)}\0{status.st_size}\0{status.st_mtime_ns}"


def _told(archive: str, suffix: str, member: Member, stream: BinaryIO) -> dict[str, Any]:
    where = f"`{printable(archive)}`: member `{printable(member.name)}`"
    if member.is_link or member.size > _MAX_JSON_BYTES:
        reason = "is a link" if member.is_link else f"has {member.size} bytes"
        raise BadInput(f"{where} {reason}", "pack the file itself, or leave it out")
    stream.seek(member.offset)
    content = stream.read(member.size)
    try:
        if suffix == "cls":
            return {"cls": int(content.decode().strip())}
        found = json.loads(content.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "") or str(error) or "nested too deeply"
        raise BadInput(f"{where} cannot be read: {reason}", "pack it again") from error
    if type(found) is not dict:
        raise BadInput(f"{where} is no JSON object", "its columns are named: {…}")
    return found


def _refuse_constant(word: str) -> None:
    raise ValueError(f"a number may not be {word}")


def _two_members(archive: str, what: str, first: str, second: str, item_id: str) -> BadInput:
    if first == second:
        return BadInput(f"`{printable(archive)}` holds `{first}` twice", "pack every file once")
    first, second = sorted((first, second))
    return BadInput(
        f"`{printable(archive)}`: `{first}` and `{second}` are both the {what} of item `{item_id}`",
        "members whose names agree up to the first dot are one item, as in WebDataset",
    )
