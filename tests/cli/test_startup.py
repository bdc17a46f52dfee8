"""Help is instant because it imports nothing heavy: the set is asserted, not the time."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from mmcli.cli.main import program
from tests.conftest import Run

HEAVY = {"torch", "transformers", "timm", "numpy", "faiss", "pyarrow", "onnxruntime", "rich"}


def pages(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command of the program, as words."""
    command = command or program()
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from pages(child, (*path, name))


def imported(*words: str) -> set[str]:
    """Top-level packages that a command line imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mmcli", *words],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-500:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().split(".")[0] for line in lines}


@pytest.mark.parametrize("page", [(), ("retrieve", "search")], ids=" ".join)
def test_help_imports_nothing_heavy(page: tuple[str, ...]) -> None:
    assert imported(*page, "--help") & HEAVY == set()


def test_no_page_of_help_imports_anything_heavy() -> None:
    """A new process shows one page after another."""
    code = (
        "import contextlib, json, sys; from mmcli.cli.main import _run, program\n"
        "found, tree = {}, program()\n"
        "for page in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stdout(None):\n"
        "        assert _run(tree, [*page, '--help']) == 0\n"
        "    found[' '.join(page)] = [name.partition('.')[0] for name in sys.modules]\n"
        "print(json.dumps(found))"
    )
    every = [list(page) for page in pages()]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(every)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-500:]
    found = json.loads(done.stdout)
    assert list(found) == [" ".join(page) for page in every]
    assert {page: names for page, names in found.items() if HEAVY & set(names)} == {}


def test_the_first_page_is_that_of_the_whole_program() -> None:
    def page(tree: Any) -> str:
        with tree.make_context("mmcli", [], resilient_parsing=True) as context:
            return str(tree.get_help(context))

    assert page(program(overview=True)) == page(program())
    assert len(page(program())) > 2000


def test_listing_models_loads_no_model() -> None:
    assert imported("models") & (HEAVY - {"rich"}) == set()


@pytest.mark.parametrize("page", [p for p in pages() if p], ids=" ".join)
def test_every_page_has_help_and_examples(page: tuple[str, ...], run_here: Run) -> None:
    done = run_here(*page, "-h")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: mmcli " + " ".join(page))
    assert "xample" in done.stdout
    assert "\x1b" not in done.stdout


def test_every_option_has_help() -> None:
    waiting: list[Any] = [program()]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        for parameter in command.params:
            if parameter.name not in ("install_completion", "show_completion"):
                assert parameter.help, f"{command.name} {parameter.name}"
