"""Conversations with pictures as ms-swift, LLaMA-Factory and LLaVA write them, checked row by row.

    {"messages": [{"role": "user", "content": "<image>what is it?"},
                  {"role": "assistant", "content": "a cat"}], "images": ["a.jpg"]}
    {"conversations": [{"from": "human", "value": "<image>\\nwhat is it?"},
                       {"from": "gpt", "value": "a cat"}], "image": "a.jpg"}

JSONL with one conversation a line, or one JSON array of them. Other plain values of a row (`split`,
a group) are kept. LLaVA's ids repeat: rows are then numbered and keep theirs as `source_id`. Opens
no picture; knows nothing about models or tokens.
"""

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.core.registry import suggestion
from mmcli.data.ids import numbered
from mmcli.data.suffixes import split_suffix
from mmcli.data.tables import TableFile

#: Where a picture belongs in a text.
IMAGE = "<image>"
_OTHER_MEDIA = ("video", "audio")
_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
#: The list of turns, and in each the keys of its role and its content.
_SHAPES = {"messages": ("role", "content"), "conversations": ("from", "value")}
_OWN_KEYS = frozenset((*_SHAPES, "images", "image", "system", "videos", "audios", "id"))
_EXAMPLE = 'as in {"role": "user", "content": "<image>what is it?"}'


@dataclass(frozen=True)
class Turn:
    """What one side says. role: system, user or assistant; text: with `<image>` for a picture."""

    role: str
    text: str


@dataclass(frozen=True)
class Conversation:
    """One row. where: the file and the row, for messages; images: paths, as many as `<image>`.

    extra: the row's other plain values, by name. An answered one ends with the assistant.
    """

    where: str
    turns: tuple[Turn, ...]
    images: tuple[str, ...] = ()
    id: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answered(self) -> bool:
        """Whether the last turn is the assistant's."""
        return self.turns[-1].role == "assistant"


def is_messages(path: Path) -> bool:
    """Whether a file's first row holds `messages` or `conversations`; reads no further."""
    suffix = split_suffix(str(path))[1]
    if suffix not in (".jsonl", ".json") or not path.is_file():
        return False
    try:
        rows = (row for _, row in _rows(path))
        first = next(rows, None)
    except BadInput:
        return False
    return first is not None and any(isinstance(first.get(key), list) for key in _SHAPES)


def read_messages(
    path: Path, root: str | None = None, *, need_answers: bool = True
) -> list[Conversation]:
    """Every conversation of a file.

    root: what its paths are relative to, else its own folder. need_answers: whether a row may end
    with the user's words. Raises BadInput that names the file and the row: turns out of order, an
    empty turn, pictures and placeholders that differ in number, a picture that is not there.
    """
    base = os.path.abspath(root or path.parent)
    if not os.path.isdir(base):
        raise BadInput(f"`--root {base}` is no folder", "name one that exists")
    found = [_conversation(where, row, base, need_answers) for where, row in _rows(path)]
    if not found:
        raise BadInput(f"`{path}` has no rows", "give it at least one conversation")
    return _with_ids(found)


def fingerprint(path: Path) -> str:
    """sha256 of the file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row and where it stands."""
    if split_suffix(str(path))[1] == ".json":
        yield from _array(path)
        return
    table = TableFile(path, "jsonl", str(path))
    for rows in table.read():
        for at, line in enumerate(rows.lines):
            row = {name: values[at] for name, values in rows.columns.items()}
            yield table.where(line), row


def _array(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"`{path}` is not JSON: {reason}", "one array of conversations") from error
    if not isinstance(rows, list):
        raise BadInput(f"`{path}` is no JSON array", "one array of conversations, or JSONL")
    for number, row in enumerate(rows, 1):
        where = f"{path}:row {number}"
        if not isinstance(row, dict):
            raise BadInput(f"{where}: not a JSON object", _EXAMPLE)
        yield where, row


def _conversation(where: str, row: Mapping[str, Any], base: str, answers: bool) -> Conversation:
    key = next((key for key in _SHAPES if row.get(key) is not None), None)
    if key is None:
        raise BadInput(
            f"{where}: it has neither `messages` nor `conversations`", "every row of the file has"
        )
    for kind in _OTHER_MEDIA:
        if row.get(f"{kind}s"):
            raise BadInput(
                f"{where}: `{kind}s` are not read", "only pictures are: leave the row out"
            )
    inline: list[str] = []
    turns = [_turn(where, turn, *_SHAPES[key], inline) for turn in _list(where, key, row[key])]
    if row.get("system"):
        turns.insert(0, Turn("system", str(row["system"])))
    _check_order(where, turns, answers)
    images = [*inline, *_images(where, row)]
    _check_placeholders(where, turns, len(images))
    return Conversation(
        where,
        tuple(turns),
        tuple(_existing(where, name, base) for name in images),
        _identity(row.get("id")),
        {n: v for n, v in row.items() if n not in _OWN_KEYS and isinstance(v, str | int | float)},
    )


def _list(where: str, key: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise BadInput(f"{where}: `{key}` is no list of turns", _EXAMPLE)
    return value


def _turn(where: str, turn: Any, role_key: str, text_key: str, inline: list[str]) -> Turn:
    if not isinstance(turn, dict) or role_key not in turn or text_key not in turn:
        raise BadInput(f"{where}: a turn lacks `{role_key}` or `{text_key}`", _EXAMPLE)
    role = _ROLES.get(str(turn[role_key]))
    if role is None:
        raise BadInput(
            f"{where}: no role is named `{turn[role_key]}`", suggestion(str(turn[role_key]), _ROLES)
        )
    content = turn[text_key]
    if isinstance(content, list):
        content = "".join(_part(where, part, inline) for part in content)
    if not isinstance(content, str):
        raise BadInput(f"{where}: the content of a turn is neither text nor a list", _EXAMPLE)
    return Turn(role, content)


def _part(where: str, part: Any, inline: list[str]) -> str:
    """A piece of a content that is a list, as chat interfaces write it."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind in ("image", "image_url"):
        given = part.get("image") or part.get("image_url") or part.get("path") or part.get("url")
        if given is not None:
            inline.append(_path(where, given))
        return IMAGE
    raise BadInput(
        f"{where}: a piece of type `{kind}` is not read",
        'text and image are, as in {"type": "text"',
    )


def _images(where: str, row: Mapping[str, Any]) -> list[str]:
    """The paths under `images` or `image`: one, or a list of them."""
    given = row.get("images")
    if given is None:
        given = row.get("image")
    if given is None or given == "":
        return []
    return [_path(where, value) for value in (given if isinstance(given, list) else [given])]


def _path(where: str, value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("path") or value.get("url")
    if not isinstance(value, str) or not value:
        raise BadInput(f"{where}: a picture is no path", 'as in "images": ["a.jpg"]')
    if value.startswith("file://"):
        return value.removeprefix("file://")
    if "://" in value[:12] or value.startswith("data:"):
        raise BadInput(
            f"{where}: picture `{value[:60]}` is no file", "download it, and write where it lies"
        )
    return value


def _existing(where: str, name: str, base: str) -> str:
    path = os.path.join(base, name)
    if not os.path.isfile(path):
        raise BadInput(
            f'{where}: image "{name}" does not exist', "paths are relative to the file, or `--root`"
        )
    if not os.path.getsize(path):
        raise BadInput(f'{where}: image "{name}" has no bytes', "get it again, or drop the row")
    return path


def _check_order(where: str, turns: list[Turn], answers: bool) -> None:
    said = turns[1:] if turns and turns[0].role == "system" else turns
    if not said:
        raise BadInput(f"{where}: nobody says anything", _EXAMPLE)
    for number, turn in enumerate(said):
        wanted = ("user", "assistant")[number % 2]
        if turn.role != wanted:
            raise BadInput(
                f"{where}: turn {number + 1} is the {turn.role}'s, not the {wanted}'s",
                "user and assistant take turns, the user first; one system turn may stand before",
            )
        if not turn.text.strip():
            what = "an answer" if turn.role == "assistant" else "a question"
            raise BadInput(
                f"{where}: turn {number + 1}, {what}, is empty", "fill it in, or drop the row"
            )
    if answers and said[-1].role != "assistant":
        raise BadInput(f"{where}: there is no answer", "the last turn is the assistant's")


def _check_placeholders(where: str, turns: list[Turn], n_images: int) -> None:
    places = 0
    for turn in turns:
        count = turn.text.count(IMAGE)
        if count and turn.role != "user":
            raise BadInput(
                f"{where}: `{IMAGE}` stands in the {turn.role}'s words", "pictures are the user's"
            )
        places += count
        for kind in _OTHER_MEDIA:
            if f"<{kind}>" in turn.text:
                raise BadInput(f"{where}: `<{kind}>` is not read", "leave the row out")
    if places != n_images:
        raise BadInput(
            f"{where}: {_count(places, f'`{IMAGE}`')}, {_count(n_images, 'image')}",
            f"write one `{IMAGE}` where each picture belongs",
        )


def _count(number: int, what: str) -> str:
    plural = what if number == 1 or what.startswith("`") else f"{what}s"
    return f"{number} {plural}"


def _identity(value: Any) -> str:
    """The id in NFC, "" where there is none."""
    known = isinstance(value, str | int) and not isinstance(value, bool)
    return unicodedata.normalize("NFC", str(value)) if known else ""


def _with_ids(found: list[Conversation]) -> list[Conversation]:
    """The rows under their own ids where every row has one and no two are equal, else by number."""
    own = {one.id for one in found}
    if "" not in own and len(own) == len(found):
        return found
    return [
        replace(one, id=name, extra={**one.extra, "source_id": one.id} if one.id else one.extra)
        for one, name in zip(found, numbered(0, len(found)), strict=True)
    ]
