"""What a search is asked: queries made of weighted parts, from options or from a file of many.

Reads text; opens no model and no index.
"""

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

from mmcli.core.errors import BadInput, UsageError

Kind = Literal["text", "image", "speech", "video", "like"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Kinds of query that are files.
FILE_KINDS = ("image", "speech", "video")


@dataclass(frozen=True)
class QueryPart:
    """One part of a query; where: file and line it came from, for messages.

    given: the option as it was written, where a weight was read from its end.
    """

    kind: Kind
    value: str
    weight: float = 1.0
    where: str = ""
    given: str = ""


@dataclass(frozen=True)
class Query:
    """Parts that are added up, and the name that results are labelled with."""

    name: str
    parts: tuple[QueryPart, ...]


def parse_part(kind: Kind, given: str) -> QueryPart:
    """`VALUE` or `VALUE=WEIGHT`; the last `=` that a number follows counts.

    A file that exists under the whole name is meant as it stands; whether an item has the whole
    as its id is known only once the index is open. Raises UsageError for a weight that is not
    finite and for words that are all blank.
    """
    if kind == "text" and not given.strip():
        raise UsageError("a query of blanks says nothing", "give words in quotes")
    value, equals, number = given.rpartition("=")
    if not equals or not value or (kind in FILE_KINDS and Path(given).exists()):
        return QueryPart(kind, given)
    try:
        weight = float(number)
    except ValueError:
        return QueryPart(kind, given)
    if weight != weight or abs(weight) == float("inf"):
        raise UsageError(f"`{given}`: the weight must be a finite number", "as in `cat=0.5`")
    if kind == "text" and not value.strip():
        raise UsageError(f"`{given}`: a weight without words", "write WORDS=WEIGHT")
    return QueryPart(kind, value, weight, given=given)


def read_queries(spec: str, stdin: BinaryIO | None = None) -> list[Query]:
    """The queries of a file: JSON lines, TSV or CSV with a header, else one text a line.

    Columns `text`, `image`, `speech`, `video` and `like` are parts, `id` is the name. `-` reads
    stdin: JSON lines when it starts with `{`, a table when its first line names such columns and
    nothing else, else texts. Raises BadInput naming file and line.
    """
    text = _read(spec, stdin)
    suffix = _suffix_of(text) if spec == "-" else Path(spec).suffix.lower()
    name = "stdin" if spec == "-" else spec
    if suffix in (".jsonl", ".ndjson"):
        rows = _json_rows(name, text)
    elif suffix in (".tsv", ".tab", ".csv"):
        rows = _table_rows(name, text, "," if suffix == ".csv" else "\t")
    else:
        lines = enumerate(text.split("\n"), 1)
        rows = ((f"{name}:{n}", {"text": line.strip()}) for n, line in lines if line.strip())
    folder = None if spec == "-" else Path(spec).parent
    queries = [_query(where, row, folder) for where, row in rows]
    if not queries:
        raise BadInput(f"`{name}` holds no query", "one text a line, or a table of parts")
    return queries


def _suffix_of(text: str) -> str:
    """What a file of this text would be called; "" for texts, one a line."""
    if text.lstrip()[:1] == "{":
        return ".jsonl"
    first = text.partition("\n")[0].strip()
    for suffix, separator in ((".tsv", "\t"), (".csv", ",")):
        header = [cell.strip('"') for cell in first.split(separator)]
        if len(header) > 1 and set(header) <= {"id", *KINDS}:
            return suffix
    return ""


def _read(spec: str, stdin: BinaryIO | None) -> str:
    try:
        if spec == "-":
            stream = stdin if stdin is not None else sys.stdin.buffer
            if stream.isatty():
                raise UsageError(
                    "`--queries -` reads stdin, which is a terminal", "pipe the queries in"
                )
            raw = stream.read()
        else:
            if not Path(spec).is_file():
                raise BadInput(
                    f"`{spec}` does not exist or is not a file", "`--queries -` reads stdin"
                )
            raw = Path(spec).read_bytes()
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BadInput(
            f"{spec}:{line}: not UTF-8", "convert it: `iconv -f latin1 -t utf-8`"
        ) from error
    except OSError as error:
        raise BadInput(
            f"`{spec}`: {(error.strerror or str(error)).lower()}", "give a file that can be read"
        ) from error


def _json_rows(name: str, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{where}: not JSON", "one object a line") from error
        if not isinstance(row, dict):
            raise BadInput(f"{where}: not a JSON object", 'as in {"id": "1", "text": "a tiger"}')
        yield where, row


def _table_rows(name: str, text: str, delimiter: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    try:
        header = next(reader, [])
        if not set(header) & set(KINDS):
            raise BadInput(
                f"{name}:1: no column is named text, image, speech, video or like",
                "the first line must name the columns",
            )
        for row in reader:
            if len(row) not in (0, len(header)):
                raise BadInput(
                    f"{name}:{reader.line_num}: {len(row)} cells, the header has {len(header)}",
                    "a cell that holds the separator is quoted (CSV), or cannot be (TSV)",
                )
            if row:
                yield f"{name}:{reader.line_num}", dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise BadInput(
            f"{name}:{reader.line_num}: {error}", "a cell with quotes is quoted, its quotes doubled"
        ) from error


def _query(where: str, row: Mapping[str, Any], folder: Path | None) -> Query:
    parts = []
    for kind in KINDS:
        value = row.get(kind)
        if value is not None and not isinstance(value, str):
            raise BadInput(f"{where}: `{kind}` must be a string", f'as in {{"{kind}": "a tiger"}}')
        if value is None or not value.strip():
            continue
        if kind in FILE_KINDS and folder is not None:
            value = str(folder / value)  # paths are relative to the table, as everywhere
        parts.append(QueryPart(kind, value, 1.0, where))
    if not parts:
        raise BadInput(f"{where}: holds no query", "give text, image, speech, video or like")
    name = row.get("id")
    return Query(str(name) if name not in (None, "") else parts[0].value, tuple(parts))
