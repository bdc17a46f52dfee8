"""Rows for a generative model: conversations as they are, any source, or a store's items.

Knows splits and columns; nothing about models.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.files import PartError
from mmcli.data.messages import fingerprint, is_messages, read_messages
from mmcli.data.places import locate
from mmcli.data.source import SourceOptions, open_source
from mmcli.data.splits import SplitOptions, Splits, split_pictures
from mmcli.data.texts import read_text
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.tasks.generative.examples import Example, from_conversation, from_row
from mmcli.workflows.finetune.features import is_store

#: Where the answers stand when nobody says.
LABELS = {"vqa": ("answer", "answers"), "caption": ("captions", "caption", "text")}

_COLUMNS = ("id", "image", "text", "question", "question_type", "type")
#: Of a directory of made data, the table of its questions.
QUESTIONS = "questions.jsonl"


@dataclass(frozen=True)
class GenerativeData:
    """Examples in the data's order. kind: messages, store, or the source's. label: the column of
    the answers. table: what splits are read from; fingerprint: of the data.
    """

    path: str
    kind: str
    label: str
    examples: list[Example]
    table: Any
    fingerprint: str

    def splits(self, options: SplitOptions, *, train: bool) -> Splits:
        """The split of every row; where val is taken from train, whole pictures at a time."""
        return split_pictures(self.table, options, train=train)

    def of(self, splits: Splits, name: str) -> list[Example]:
        """The examples of a split."""
        return [self.examples[row] for row in splits.rows(name)]


@dataclass(frozen=True)
class _Table:
    """What `split_rows` asks of a store."""

    path: Path
    content: pa.Table

    @property
    def rows(self) -> int:
        return int(self.content.num_rows)

    @property
    def columns(self) -> list[str]:
        return list(self.content.column_names)

    def ids(self) -> list[str]:
        """The id of every row."""
        found: list[str] = self.content.column("id").to_pylist()
        return found

    def items(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of every row."""
        return self.content.select(list(columns))


def load_rows(
    data: str,
    task: str,
    label: str = "",
    *,
    root: str | None = None,
    mapping: Mapping[str, str] | None = None,
    verify: str = "once",
    need_answers: bool = True,
) -> GenerativeData:
    """Every row of the data, checked as far as no model is needed.

    A directory that holds `questions.jsonl` stands for its questions, where there are to be any.
    need_answers: whether a row must have one. Raises BadInput, naming the file and the row.
    """
    if task == "vqa" and data != "-" and (Path(data) / QUESTIONS).is_file():
        data = str(Path(data) / QUESTIONS)
    if data != "-" and is_messages(Path(data)):
        if mapping:
            raise UsageError("`--map` is for tables", "conversations are read as they are")
        if label:
            raise UsageError(
                f"`--label {label}`: conversations hold their own answers", "leave it out"
            )
        return _messages(data, root, need_answers)
    if is_store(data):
        store = Store.open(data, verify)
        table, base = store.items(), store.source_root
        if base is None:
            raise BadInput(
                f"`{data}` does not say where its image files are", "give the source itself"
            )
        mark = str(file_record(Path(data) / MANIFEST)["sha256"])
        return _table(data, "store", table, root or base, task, label, False, mark, need_answers)
    options = SourceOptions(data, root, dict(mapping or {}))
    with tempfile.TemporaryDirectory(prefix="mmcli-") as spool:
        source = open_source(options, Path(spool))
        try:
            table = source.rows(0, source.n_items)
            return _table(
                data,
                source.kind,
                table,
                source.root,
                task,
                label,
                source.text_is_path,
                source.fingerprint,
                need_answers,
            )
        finally:
            source.close()


def _messages(data: str, root: str | None, need_answers: bool) -> GenerativeData:
    path = Path(data)
    found = read_messages(path, root, need_answers=need_answers)
    names = dict.fromkeys(name for one in found for name in one.extra)
    columns: dict[str, Any] = {
        "id": pa.array([one.id for one in found], pa.string()),
        "image": pa.array(["\n".join(one.images) or None for one in found], pa.string()),
    }
    for name in names:
        values = [one.extra.get(name) for one in found]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, TypeError):
            columns[name] = pa.array([None if v is None else str(v) for v in values], pa.string())
    return GenerativeData(
        path=data,
        kind="messages",
        label="messages",
        examples=[from_conversation(one) for one in found],
        table=_Table(path, pa.table(columns)),
        fingerprint=fingerprint(path),
    )


def _table(
    data: str,
    kind: str,
    table: pa.Table,
    base: str,
    task: str,
    label: str,
    text_is_path: bool,
    mark: str,
    need_answers: bool,
) -> GenerativeData:
    names = table.column_names
    if "image" not in names:
        raise BadInput(
            f"`{data}` has no column `image`", "name it: `--map image=COLUMN`, or give pictures"
        )
    if task == "vqa" and "text" not in names and "question" not in names:
        raise BadInput(
            f"`{data}` has no column `text` or `question`", "name it: `--map text=COLUMN`"
        )
    label = _label(data, names, task, label, need_answers)
    wanted = [n for n in (*_COLUMNS, label) if n in names]
    examples = []
    for number, row in enumerate(table.select(list(dict.fromkeys(wanted))).to_pylist(), 1):
        where = f"{data}:row {number} (id {row['id']})"
        if text_is_path and row.get("text"):
            row["text"] = _text(locate(base, row["text"]), where)
        image = None if row["image"] is None else locate(base, row["image"])
        examples.append(from_row(row, where, task, label, image, known=need_answers))
    if not examples:
        raise BadInput(f"`{data}` has no rows", "give it at least one")
    return GenerativeData(data, kind, label, examples, _Table(Path(data), table), mark)


def _label(data: str, names: Sequence[str], task: str, label: str, needed: bool) -> str:
    if label:
        if label not in names:
            raise BadInput(f"`{data}` has no column `{label}`", suggestion(label, names))
        return label
    found = next((name for name in LABELS[task] if name in names), "")
    if not found and needed:
        raise BadInput(
            f"`{data}` has no column {' or '.join(f'`{name}`' for name in LABELS[task])}",
            f"name it: `--label COLUMN`; columns: {', '.join(names[:12])}",
        )
    return found


def _text(path: str, where: str) -> str:
    try:
        return read_text(path)
    except PartError as error:
        raise BadInput(
            f'{where}: text "{path}" {error.message}', "correct it, or drop the row"
        ) from error
