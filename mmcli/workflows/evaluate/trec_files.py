"""Run and qrels files as trec_eval reads them.

Their columns are parted by spaces, so spaces and percent signs of an id are written as in a URL.
An id of a file that is not an item's own is looked up again with these undone.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from mmcli.core.errors import BadInput
from mmcli.store.atomic import atomic_file

Judged = dict[str, dict[str, float]]
_ODD = re.compile(r"[\s%]")


def trec_id(identity: str) -> str:
    """An id without spaces: those, and percent signs, as `%20` and `%25`."""
    return _ODD.sub(lambda found: "".join(f"%{b:02X}" for b in found[0].encode()), identity)


def read_qrels(path: str, ids: Iterable[str]) -> Judged:
    """Judgements `{query id: {target id: gain}}` of a TREC file: query, iteration, target, gain.

    ids: of the items; others are kept as they stand. Raises BadInput, naming the line, for one
    that has no four columns or no number in the last, or that judges anew, and when no query is an
    item's id.
    """
    known = set(ids)

    def item(word: str) -> str:
        return word if word in known else unquote(word)

    judged: Judged = {}
    for where, words in _lines(path):
        if len(words) != 4:
            raise BadInput(
                f"{where}: {len(words)} columns, not 4", "query 0 target gain, parted by spaces"
            )
        try:
            gain = float(words[3])
        except ValueError:
            gain = float("nan")
        if not -1e9 < gain < 1e9:
            raise BadInput(
                f"{where}: gain `{words[3]}` is not a number", "a line is QUERY 0 ID GAIN"
            )
        targets, target = judged.setdefault(item(words[0]), {}), item(words[2])
        if targets.get(target, gain) != gain:
            raise BadInput(
                f"{where}: `{words[2]}` was judged {targets[target]:g} for `{words[0]}` before",
                "a query judges a target once",
            )
        targets[target] = gain
    if not known & judged.keys():
        raise BadInput(
            f"`{path}` names no query that is an item's id", "its first column is the query's item"
        )
    return judged


def unknown_ids(judged: Mapping[str, Mapping[str, float]], ids: Iterable[str]) -> list[str]:
    """What must be said of judgements whose ids are of no item: they make every score too high."""
    known = set(ids)
    queries = len(judged.keys() - known)
    targets = {t for found in judged.values() for t, gain in found.items() if gain > 0} - known
    told = [f"{queries} queries"] * bool(queries) + [f"{len(targets)} targets"] * bool(targets)
    if not told:
        return []
    return [f"{' and '.join(told)} of the judgements are no items: they were passed over"]


def transposed(judged: Mapping[str, Mapping[str, float]]) -> Judged:
    """The same judgements with queries and targets changed about."""
    found: Judged = {}
    for query, targets in judged.items():
        for target, gain in targets.items():
            found.setdefault(target, {})[query] = gain
    return found


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines as they come; the file appears whole or not at all."""
    with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for line in lines:
            file.write(line + "\n")


def run_line(query: str, target: str, rank: int, score: float) -> str:
    """One line of a run; nine digits tell any two single-precision scores apart."""
    return f"{trec_id(query)} Q0 {trec_id(target)} {rank} {score:.9g} mmcli"


def qrels_line(query: str, target: str, gain: float) -> str:
    """One line of judgements."""
    return f"{trec_id(query)} 0 {trec_id(target)} {gain:g}"


def _lines(path: str) -> Iterator[tuple[str, list[str]]]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}:{number}", line.split()
    except OSError as error:
        raise BadInput(
            f"`{path}`: {(error.strerror or 'cannot be read').lower()}",
            "give a file that can be read",
        ) from error
    except UnicodeDecodeError as error:
        raise BadInput(
            f"`{path}` is not UTF-8 text", "convert it: `iconv -f latin1 -t utf-8`"
        ) from error
