"""`demo`: real photographs, spoken queries, and the three commands that find one with the other.

Every step is a command that the user could have typed; it is told to the listeners before it runs,
here in one process. Prints nothing. The directory stays for the user to play with.
"""

import json
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.data.voices import speak, write_speech
from mmcli.store.atomic import make_directory, write_bytes
from mmcli.workflows.demo_photographs import CAPTIONS, QUERY_PICTURE, find_photographs
from mmcli.workflows.queries.file import Kind, Query, QueryPart, read_queries

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class DemoConfig:
    """What `mmcli demo` can be told."""

    output: str = "mmcli-demo"
    force: bool = False
    dry_run: bool = False
    device: str = "auto"
    precision: str = "auto"


@dataclass
class Listeners:
    """Who hears of each step: `command` before it runs, then `rows` or `report`, and `note`."""

    command: Callable[[str, str], None] = lambda title, line: None
    rows: Callable[[Rows, Sequence[str]], None] = lambda rows, columns: None
    report: Callable[[Mapping[str, Any]], None] = lambda report: None
    note: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Asked:
    """One query of the demonstration and the photograph that answers it."""

    name: str
    kind: Kind
    value: str
    expected: str


#: value: words, a file of `queries/`, or for speech what the file says.
QUERIES = (
    Asked("a cup of coffee", "text", "a cup of coffee", "coffee"),
    Asked("a kitten", "text", "a kitten", "chelsea"),
    Asked("a spacecraft", "text", "a spacecraft", "rocket"),
    Asked("a photographer with a tripod", "text", "a photographer with a tripod", "camera"),
    Asked("motorcycle.png", "image", "motorcycle.png", "motorcycle_left"),
    Asked("coffee.wav", "speech", "a cup of coffee", "coffee"),
    Asked("camera.wav", "speech", "a man with a camera", "camera"),
)
TITLES = {
    "text": "by words",
    "image": "by a picture that is not in the index",
    "speech": "by voice",
}
#: Results shown a query.
TOP = 3
COLUMNS = ("text",)


def run_demo(config: DemoConfig, listeners: Listeners | None = None) -> dict[str, Any]:
    """Make the demonstration in `config.output` and report what each query found.

    Raises BadInput when the directory is in use, MissingResource when photographs or voice are not
    installed, all before anything is written; missing weights are found out by the first step.
    """
    listeners = listeners or Listeners()
    began = time.perf_counter()
    folder = Path(config.output)
    photographs = find_photographs()
    _refuse(folder, config.force)
    if config.dry_run:
        for title, line in _commands(config):
            listeners.command(title, line)
        return {"dry_run": True, "directory": config.output, "photographs": len(CAPTIONS)}
    speak("yes")
    _write_sources(folder, photographs)
    steps = iter(_commands(config))
    listeners.command(*next(steps))
    listeners.report(_extract(config))
    listeners.command(*next(steps))
    listeners.report(_index(config))
    results = []
    for asked in QUERIES:
        listeners.command(*next(steps))
        (query,) = _queries(folder, (asked,))
        results.append(_ask(config, asked, query, listeners))
    listeners.command(*next(steps))
    _write_gallery(config)
    return {
        "directory": config.output,
        "gallery": str(folder / "gallery.html"),
        "photographs": len(CAPTIONS),
        "queries": results,
        "right": sum(result["right"] for result in results),
        "total_s": round(time.perf_counter() - began, 1),
    }


def _commands(config: DemoConfig) -> list[tuple[str, str]]:
    """A title and a command line for every step, as they run from the working directory."""
    folder = Path(config.output)
    force = ["--force"] if config.force else []
    placed = []
    if config.device != "auto":
        placed += ["--device", config.device]
    if config.precision != "auto":
        placed += ["--precision", config.precision]
    search = ["retrieve", "search", folder / "index"]
    steps: list[tuple[str, list[object]]] = [
        (
            f"{len(CAPTIONS)} photographs and their captions into embeddings",
            ["extract", folder / "photos", "-o", folder / "store", *force, *placed],
        ),
        (
            "an index of the pictures",
            ["retrieve", "index", folder / "store", "-o", folder / "index", *force],
        ),
    ]
    for asked in QUERIES:
        what: list[object] = [asked.value]
        if asked.kind != "text":
            what = [f"--{asked.kind}", folder / "queries" / asked.name, *placed]
        shown = ["-k", TOP, "--columns", ",".join(COLUMNS)]
        steps.append((TITLES[asked.kind], [*search, *what, *shown]))
    page = ["--html", folder / "gallery.html", *force, *placed]
    every = [*search, "--queries", folder / "queries" / "queries.jsonl", "-k", TOP, *page]
    steps.append(("all of them on one page", every))
    return [(title, shlex.join(["mmcli", *map(str, words)])) for title, words in steps]


def _refuse(folder: Path, force: bool) -> None:
    """A directory that holds something is replaced only when asked, and only if it is a demo."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or not (folder / "queries" / "queries.jsonl").is_file():
        raise BadInput(f"`{folder}` is in the way: not an mmcli demo", "give another one with -o")
    if not force:
        raise BadInput(
            f"`{folder}` already holds a demo", "`--force` makes it again, `-o` another one"
        )


def _write_sources(folder: Path, photographs: Path) -> None:
    """Photographs with captions beside them, and the queries that are files."""
    for part in ("photos", "queries"):
        make_directory(folder / part)
    for asked in QUERIES:
        if asked.kind == "speech":
            write_speech(asked.value, folder / "queries" / asked.name)
    rows = []
    for asked in QUERIES:
        value = asked.value if asked.kind == "text" else asked.name
        rows.append(json.dumps({"id": asked.name, asked.kind: value}))
    write_bytes(folder / "queries" / "queries.jsonl", ("\n".join(rows) + "\n").encode())
    shutil.copyfile(photographs / QUERY_PICTURE, folder / "queries" / "motorcycle.png")
    for name, caption in CAPTIONS.items():
        shutil.copyfile(photographs / name, folder / "photos" / name)
        write_bytes((folder / "photos" / name).with_suffix(".txt"), (caption + "\n").encode())


def _extract(config: DemoConfig) -> dict[str, Any]:
    from mmcli.workflows.extract.plan import ExtractConfig
    from mmcli.workflows.extract.run import extract

    folder = Path(config.output)
    return extract(
        ExtractConfig(
            source=str(folder / "photos"),
            output=str(folder / "store"),
            force=config.force,
            device=config.device,
            precision=config.precision,
        )
    )


def _index(config: DemoConfig) -> dict[str, Any]:
    from mmcli.workflows.index.build import build_index
    from mmcli.workflows.index.config import IndexConfig

    folder = Path(config.output)
    return build_index(
        IndexConfig(str(folder / "store"), str(folder / "index"), force=config.force)
    )


def _queries(folder: Path, asked: Sequence[Asked]) -> tuple[Query, ...]:
    found = []
    for one in asked:
        value = one.value if one.kind == "text" else str(folder / "queries" / one.name)
        found.append(Query(one.name, (QueryPart(one.kind, value),)))
    return tuple(found)


def _ask(config: DemoConfig, asked: Asked, query: Query, listeners: Listeners) -> dict[str, Any]:
    """Run one search; what came first, and whether it is the right photograph."""
    from mmcli.workflows.search.run import SearchConfig, search

    result = search(
        SearchConfig(
            index=str(Path(config.output) / "index"),
            queries=(query,),
            k=TOP,
            columns=COLUMNS,
            device=config.device,
            precision=config.precision,
        )
    )
    for note in result.notes:
        listeners.note(note)
    listeners.rows(result.rows, result.columns)
    first = result.rows[0]
    return {
        "query": asked.name,
        "kind": asked.kind,
        "found": first["id"],
        "score": first["score"],
        "expected": asked.expected,
        "right": first["id"] == asked.expected,
    }


def _write_gallery(config: DemoConfig) -> None:
    from mmcli.workflows.search.run import SearchConfig, search

    folder = Path(config.output)
    search(
        SearchConfig(
            index=str(folder / "index"),
            queries=tuple(read_queries(str(folder / "queries" / "queries.jsonl"))),
            k=TOP,
            several=True,
            html=str(folder / "gallery.html"),
            force=config.force,
            device=config.device,
            precision=config.precision,
        )
    )
