"""A dataset that Hugging Face `datasets` saved to disk, read by pyarrow alone.

`Dataset.save_to_disk` writes Arrow streams beside `state.json`, `DatasetDict.save_to_disk` a
folder of that kind for each split. Pictures and sounds stay where they are: an item names their
bytes by offset, and a worker reads them there.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.data.folders import BATCH_ROWS
from mmcli.data.places import bytes_place
from mmcli.data.tables import Rows, gathered
from mmcli.data.typed_columns import PlaceOf, TypedColumns, value_offsets

STATE = "state.json"
SPLITS = "dataset_dict.json"
_AGAIN = "save it again: `dataset.save_to_disk(…)`"
#: Hugging Face's name of it.
_OUR_SPLITS = {"validation": "val"}


def is_saved(folder: str) -> bool:
    """Whether a folder is a saved Dataset or DatasetDict."""
    if os.path.isfile(os.path.join(folder, SPLITS)):
        return True
    return all(os.path.isfile(os.path.join(folder, n)) for n in (STATE, "dataset_info.json"))


@dataclass(frozen=True)
class SavedDataset:
    """A saved dataset as a table: its rows in order, those of a DatasetDict split after split.

    place: how its items name the folder, relative to their root or absolute.
    """

    path: Path
    name: str
    place: str
    media: frozenset[str] = frozenset()
    kind: str = "hf-dataset"

    def where(self, line: int) -> str:
        """The folder and the row, from 1; line 0 is the dataset as a whole."""
        return f"{self.name}:row {line}" if line else f"`{self.name}`"

    def typed_schema(self) -> pa.Schema:
        """The types of its columns; `split` among them when there are several."""
        schema: pa.Schema | None = None
        for split, file in self._files():
            with _mapped(file) as (_, reader):
                found = TypedColumns(reader.schema, self.media).schema
            if split is not None and "split" in found.names:
                raise BadInput(
                    f"`{self.name}` has splits, and a column `split` too",
                    "rename the column: `dataset.rename_column('split', …)`",
                )
            if schema is not None and found != schema:
                raise BadInput(
                    f"`{self.name}`: `{file.name}` has other columns than the file before it",
                    "cast the splits to one schema, or give one of them",
                )
            schema = found
        if schema is None:
            raise BadInput(f"`{self.name}` has no rows", "give it at least one")
        if self._is_dict():
            schema = schema.append(pa.field("split", pa.string()))
        return schema

    def read(self, columns: list[str] | None = None) -> Iterator[Rows]:
        """Every row; columns: all that is needed."""
        return gathered(self._read(columns))

    def _read(self, columns: list[str] | None) -> Iterator[Rows]:
        line = 1
        for split, file in self._files():
            with _mapped(file) as (whole, reader):
                typed = TypedColumns(reader.schema, self.media)
                names = [n for n in reader.schema.names if columns is None or n in columns]
                place = os.path.join(self.place, str(file.relative_to(self.path)))
                for batch in _batches(reader, line, self):
                    for at in range(0, len(batch), BATCH_ROWS):
                        part = batch.slice(at, BATCH_ROWS)
                        lines = range(line, line + len(part))
                        found = {
                            name: typed.convert(
                                name, part.column(name), _by_offset(place, whole, file)
                            )
                            for name in names
                        }
                        if split is not None and (columns is None or "split" in columns):
                            found["split"] = pa.repeat(pa.scalar(split), len(part))
                        yield Rows(lines, found)
                        line += len(part)

    def fingerprint(self) -> str:
        """sha256 over the name, size and time of every file, and what `datasets` says of them."""
        digest = hashlib.sha256()
        for split, file in self._files():
            status = file.stat()
            told = _json(file.parent / STATE, self.name).get("_fingerprint", "")
            name = file.relative_to(self.path)
            digest.update(f"{split}\0{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
            digest.update(f"{told}\n".encode())
        return digest.hexdigest()

    def _is_dict(self) -> bool:
        return (self.path / SPLITS).is_file()

    def _files(self) -> list[tuple[str | None, Path]]:
        if not self._is_dict():
            return [(None, file) for file in _files_of(self.path, self.name)]
        splits = _json(self.path / SPLITS, self.name).get("splits")
        if not isinstance(splits, list) or not all(isinstance(one, str) for one in splits):
            raise BadInput(f"`{self.path / SPLITS}` names no splits", _AGAIN)
        found: list[tuple[str | None, Path]] = []
        for split in splits:
            folder = self.path / _plain_name(split, self.path / SPLITS)
            files = _files_of(folder, f"{self.name}/{split}")
            found += [(_OUR_SPLITS.get(split, split), file) for file in files]
        return found


def _files_of(folder: Path, name: str) -> Sequence[Path]:
    state = _json(folder / STATE, name)
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise BadInput(f"`{name}` was saved with a list of rows by an old `datasets`", _AGAIN)
    entries = state.get("_data_files")
    names = [one.get("filename") for one in entries or [] if isinstance(one, dict)]
    if not all(isinstance(one, str) for one in names):
        raise BadInput(f"`{folder / STATE}` names no data files", _AGAIN)
    files = [folder / _plain_name(str(one), folder / STATE) for one in names]
    for file in files:
        if not file.is_file():
            raise BadInput(f"`{file}` of `{name}` does not exist", _AGAIN)
    return files


def _plain_name(name: str, file: Path) -> str:
    if not name or "/" in name or "\\" in name or name in (".", ".."):
        raise BadInput(f"`{file}` names `{name}`, outside its folder", "do not trust it")
    return name


def _json(path: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"`{name}` has no `{path.name}`: {error.strerror}", _AGAIN) from error
    except ValueError as error:
        raise BadInput(f"`{path}` is not JSON", _AGAIN) from error
    if not isinstance(found, dict):
        raise BadInput(f"`{path}` is no JSON object", _AGAIN)
    return found


@contextmanager
def _mapped(path: Path) -> Iterator[tuple[Any, Any]]:
    """The bytes of an Arrow file, mapped, and a reader of them: stream or file format."""
    try:
        with pa.memory_map(str(path)) as file:
            whole = file.read_buffer()
        try:
            reader = pa.ipc.open_stream(pa.BufferReader(whole))
        except pa.ArrowInvalid:
            reader = pa.ipc.open_file(pa.BufferReader(whole))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"`{path}` is no Arrow file: {reason}", _AGAIN) from error
    yield whole, reader


def _batches(reader: Any, line: int, dataset: SavedDataset) -> Iterator[pa.RecordBatch]:
    try:
        if hasattr(reader, "num_record_batches"):
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)
            return
        yield from reader
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{dataset.where(line)}: cannot be read: {reason}", _AGAIN) from error


def _by_offset(place: str, whole: Any, file: Path) -> Any:
    def of(values: pa.Array) -> PlaceOf:
        starts = value_offsets(values, whole.address, whole.size)
        if starts is None:
            raise BadInput(f"`{file}` is compressed: its media cannot be read one by one", _AGAIN)
        return lambda row, size, name: bytes_place(place, int(starts[row]), size, name)

    return of
