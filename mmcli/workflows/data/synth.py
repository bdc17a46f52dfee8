"""`data synth`: data whose truth is known, made in blocks by as many processes as there are cores.

Blocks depend on the options and their number alone and are written in order, so the bytes are the
same however many processes made them. Prints nothing.
"""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO

from mmcli.core.errors import OutOfResource, UsageError
from mmcli.core.registry import load_attribute
from mmcli.data.synth.directory import DataWriter, check_free
from mmcli.data.synth.kinds import KINDS, Generator, Made
from mmcli.engine.decoding import start_worker, worker_count
from mmcli.store.atomic import atomic_file, disk_errors, make_directory, write_bytes

#: Blocks under way for each process, so that none waits for the writing of an earlier one.
_AHEAD = 4


@dataclass(frozen=True)
class SynthConfig:
    """What `mmcli data synth KIND` can be told. options: those of the kind's generator."""

    kind: str
    output: str
    options: Mapping[str, Any] = field(default_factory=dict)
    workers: int | None = None
    force: bool = False
    dry_run: bool = False


def synth(
    config: SynthConfig, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Make the data and report what they are and how good one can be on them.

    progress: of rows of the first table, done and in all. Raises UsageError, MissingResource or
    BadInput before anything is written.
    """
    began = time.perf_counter()
    if config.workers is not None and config.workers < 0:
        raise UsageError(f"`--workers {config.workers}` is no number of processes", "0 or more")
    generator: Generator = load_attribute(KINDS.get(config.kind).generator)(**config.options)
    generator.check()
    output = Path(config.output)
    check_free(output, config.force)
    rows = sum(generator.blocks())
    report = {"output": config.output, "kind": config.kind, **generator.options()}
    if config.dry_run:
        return {"dry_run": True, **report, "tables": list(generator.tables)}
    with DataWriter(output, config.force) as writer:
        facts, files, counts = _make(generator, writer.folder, config, progress)
        write_bytes(writer.folder / "README.md", generator.readme(facts).encode())
        manifest = writer.commit(
            {
                "kind": config.kind,
                "options": generator.options(),
                "tables": {
                    name: {"file": _table_name(name), "rows": count}
                    for name, count in counts.items()
                },
                **facts,
                "versions": _versions(),
            },
            files,
        )
    seconds = time.perf_counter() - began
    return {
        **report,
        "tables": counts,
        **facts,
        "files": len(manifest["files"]),
        "bytes": sum(record["bytes"] for record in manifest["files"].values()),
        "items_per_s": round(rows / seconds, 1),
        "total_s": round(seconds, 2),
    }


def _make(
    generator: Generator,
    folder: Path,
    config: SynthConfig,
    progress: Callable[[int, int], None],
) -> tuple[dict[str, Any], dict[str, Mapping[str, Any]], dict[str, int]]:
    """Run every block: the facts, the records of all files, the rows of each table."""
    sizes = generator.blocks()
    tally = generator.tally()
    files: dict[str, Mapping[str, Any]] = {}
    counts = dict.fromkeys(generator.tables, 0)
    for name in generator.folders:
        make_directory(folder / name)
    with ExitStack() as stack:
        stack.enter_context(disk_errors(folder))
        tables: dict[str, BinaryIO] = {
            name: _open(stack, folder / _table_name(name)) for name in generator.tables
        }
        done = 0
        workers = worker_count(config.workers, sum(sizes))
        for size, made in zip(sizes, _blocks(generator, folder, workers), strict=True):
            tally.add(made.rows)
            files |= made.files
            for name, rows in made.rows.items():
                counts[name] += len(rows)
                tables[name].writelines(_line(row) for row in rows)
            done += size
            progress(done, sum(sizes))
    return tally.facts(), files, counts


def _open(stack: ExitStack, path: Path) -> BinaryIO:
    temporary = stack.enter_context(atomic_file(path))
    return stack.enter_context(open(temporary, "wb"))


def _blocks(generator: Generator, folder: Path, workers: int) -> Iterator[Made]:
    """What each block gave, in order, a few of them under way at a time."""
    numbers = range(len(generator.blocks()))
    if workers == 0:
        for block in numbers:
            yield generator.make(block, folder)
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=start_worker,
        initargs=(os.getpid(),),
    )
    waiting: deque[Future[Made]] = deque()
    try:
        for block in numbers:
            waiting.append(pool.submit(generator.make, block, folder))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise OutOfResource(
            "a process that makes the data died", "out of memory? try `--workers 0`"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _table_name(name: str) -> str:
    return f"{name}.jsonl"


def _line(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()


def _versions() -> dict[str, str]:
    """Of all that the bytes depend on."""
    found = {}
    for package in ("mmcli", "numpy", "pillow", "soundfile", "espeakng-loader"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
