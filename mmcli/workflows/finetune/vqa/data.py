"""The rows of a question answering: pictures, questions, answers and splits, all of them checked.

A row that cannot be learned from is refused here, by its number and id, before anything slow
begins. Opens no picture. Prints nothing.
"""

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.core.registry import suggestion
from mmcli.data.answers import Answers, answer_column, read_answers
from mmcli.data.files import PartError
from mmcli.data.places import locate
from mmcli.data.source import SourceOptions, open_source
from mmcli.data.splits import SplitOptions, Splits, split_pictures
from mmcli.data.texts import read_text
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.tasks.vqa_tokens import Rows
from mmcli.workflows.finetune.features import is_store
from mmcli.workflows.finetune.generative.rows import QUESTIONS

#: Columns that say of what type a question is; the first that is there.
TYPES = ("question_type", "type")
_PLACEHOLDER = re.compile(r"<\|?(image|img|video|vision_start|image_pad|image_\d+)\|?>", re.I)


@dataclass(frozen=True)
class VqaRows:
    """Every row of the data.

    images: paths, absolute; None where a row has none. types: "" where not known. answers: None
    where the data have none. store: where the data are one, whose own tokens are read. usable:
    bool `(rows,)`, those with picture and question. lines: what a reader must know.
    """

    path: str
    table: Any
    ids: list[str]
    images: list[str | None]
    questions: list[str | None]
    types: list[str]
    answers: Answers | None
    fingerprint: str
    store: Store | None
    usable: Any
    lines: list[str]

    def where(self, row: int) -> str:
        """How a message names a row."""
        return f"{self.path}:row {row + 1} (id {self.ids[row]})"

    def splits(self, options: SplitOptions, *, train: bool = True) -> Splits:
        """The split of every row; where val is taken from train, whole pictures at a time."""
        return split_pictures(self.table, options, train=train)

    def groups(self, column: str | None, rows: Rows) -> Any:
        """int64 `(len(rows),)` from 0: rows that are drawn together, those of one picture."""
        name = column or ("image" if "image" in self.table.columns else "id")
        values = self.table.items([name]).column(name).to_pylist()
        places: dict[Any, int] = {}
        found = [
            places.setdefault(("", row) if values[row] is None else values[row], len(places))
            for row in rows.tolist()
        ]
        return np.array(found, np.int64)


class Table:
    """A table in memory as `split_rows` and `read_answers` read a store."""

    def __init__(self, path: str, content: pa.Table) -> None:
        self.path, self.content = Path(path), content
        self.rows = int(content.num_rows)
        self.columns: list[str] = list(content.column_names)

    def ids(self) -> list[str]:
        """The id of every row."""
        found: list[str] = self.content.column("id").to_pylist()
        return found

    def items(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of every row. Raises BadInput for one that is not there."""
        for name in columns:
            if name not in self.columns:
                raise BadInput(
                    f"`{self.path}` has no column `{name}`", suggestion(name, self.columns)
                )
        return self.content.select(list(columns))


def read_rows(
    data: str,
    label: str = "",
    *,
    root: str | None = None,
    mapping: Mapping[str, str] | None = None,
    verify: str = "once",
    skip: bool = False,
    need_answers: bool = True,
) -> VqaRows:
    """The rows of a source or a store.

    A directory that holds `questions.jsonl` stands for its questions. skip: rows without picture
    or question are left out and counted. Raises BadInput, naming the row, for a picture that does
    not exist, a question that is empty or holds a placeholder of pictures, and where there is no
    answer but there are to be some.
    """
    if data != "-" and (Path(data) / QUESTIONS).is_file():
        data = str(Path(data) / QUESTIONS)
    store = None
    if is_store(data):
        store = Store.open(data, verify)
        content, base, as_path = store.items(), store.source_root or "", False
        mark = str(file_record(Path(data) / MANIFEST)["sha256"])
    else:
        content, base, as_path, mark = _of_source(data, root, mapping or {})
    table: Any = Table(data, content)
    if not table.rows:
        raise BadInput(f"`{data}` has no rows", "give it at least one")
    images = _images(table, base, store)
    questions = _questions(table, base, as_path, store)
    types = _types(table)
    answers = None
    if need_answers or answer_column(table.columns, label):
        answers = read_answers(table, label)
    ids = table.ids()
    found = VqaRows(data, table, ids, images, questions, types, answers, mark, store, None, [])
    return _checked(found, skip)


def _of_source(
    data: str, root: str | None, mapping: Mapping[str, str]
) -> tuple[pa.Table, str, bool, str]:
    with tempfile.TemporaryDirectory(prefix="mmcli-") as spool:
        source = open_source(SourceOptions(data, root, dict(mapping)), Path(spool))
        try:
            table = source.rows(0, source.n_items)
            return table, source.root, source.text_is_path, source.fingerprint
        finally:
            source.close()


def _images(table: Table, base: str, store: Store | None) -> list[str | None]:
    if "image" not in table.columns:
        if store is not None:
            return [None] * table.rows
        raise BadInput(
            f"`{table.path}` has no column `image`",
            "name it: `--map image=COLUMN`, or give pictures",
        )
    values = table.items(["image"]).column("image").to_pylist()
    return [None if value is None else locate(base, value) for value in values]


def _questions(table: Table, base: str, as_path: bool, store: Store | None) -> list[str | None]:
    name = next((n for n in ("text", "question") if n in table.columns), None)
    if name is None:
        if store is not None:
            return [None] * table.rows
        raise BadInput(
            f"`{table.path}` has no column `text` or `question`", "name it: `--map text=COLUMN`"
        )
    values: list[str | None] = table.items([name]).column(name).to_pylist()
    if not as_path:
        return values
    found: list[str | None] = []
    for row, value in enumerate(values):
        try:
            found.append(read_text(locate(base, value)) if value else None)
        except PartError as error:
            raise BadInput(
                f'{table.path}:row {row + 1}: text "{value}" {error.message}',
                "correct it, or drop the row",
            ) from error
    return found


def _types(table: Table) -> list[str]:
    name = next((n for n in TYPES if n in table.columns), None)
    if name is None:
        return [""] * table.rows
    values = table.items([name]).column(name)
    if pa.types.is_nested(values.type):
        return [""] * table.rows
    return ["" if value is None else str(value) for value in values.to_pylist()]


def _checked(rows: VqaRows, skip: bool) -> VqaRows:
    """The same with `usable`; raises for the first row that is not, unless such are skipped."""
    usable = np.ones(rows.table.rows, bool)
    there: dict[str, bool] = {}
    left: dict[str, int] = {}
    for row, (image, question) in enumerate(zip(rows.images, rows.questions, strict=True)):
        wrong, hint = _complaint(rows, image, question, there)
        if not wrong:
            continue
        if not skip:
            raise BadInput(f"{rows.where(row)}: {wrong}", hint)
        usable[row] = False
        kind = wrong.partition(" `")[0]
        left[kind] = left.get(kind, 0) + 1
    lines = [f"{count} rows are left out: {kind}" for kind, count in left.items()]
    return replace(rows, usable=usable, lines=lines)


def _complaint(
    rows: VqaRows, image: str | None, question: str | None, there: dict[str, bool]
) -> tuple[str, str]:
    """What is wrong with a row, and what to do; "" when nothing is. A store has its own tokens."""
    if rows.store is None:
        if not image:
            return "no picture", "name one, or drop the row"
        if image not in there:
            there[image] = os.path.isfile(image)
        if not there[image]:
            return (
                f"picture `{image}` does not exist",
                "paths are relative to the table: `--root` says otherwise",
            )
        if not (question or "").strip():
            return "the question is empty", "ask something, or drop the row"
    found = _PLACEHOLDER.search(question or "")
    if found:
        return (
            f"the question holds the placeholder `{found[0]}`",
            "the picture is read from `image`: take it out",
        )
    return "", ""
