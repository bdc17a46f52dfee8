"""Strings on the command line pass without pydantic, and everything else is checked as ever."""

import subprocess
import sys
from typing import Annotated, Any

import pytest
import typer

from mmcli.cli.plain_words import pass_strings

SHOWN: dict[str, Any] = {}


def show(
    words: Annotated[list[str] | None, typer.Argument()] = None,
    name: Annotated[str, typer.Option()] = "none",
    maybe: Annotated[str | None, typer.Option()] = None,
    many: Annotated[list[str] | None, typer.Option()] = None,
    rows: Annotated[int, typer.Option(min=1)] = 3,
    share: Annotated[float | None, typer.Option()] = None,
    fast: Annotated[bool, typer.Option("--fast")] = False,
    fold: Annotated[bool | None, typer.Option("--fold/--no-fold")] = None,
) -> None:
    SHOWN.update(locals())


def parsed(*words: str) -> dict[str, Any]:
    app = typer.Typer()
    app.command()(show)
    tree = typer.main.get_command(app)
    SHOWN.clear()
    with tree.make_context("show", list(words)) as context:
        tree.invoke(context)
    return dict(SHOWN)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("a", "b"),
        ("--name", "图", "--maybe", ""),
        ("--many", "1", "--many", "2", "x"),
        ("--rows", "7", "--share", "0.5"),
        ("--fast", "--fold"),
        ("--no-fold",),
    ],
)
def test_the_same_values_as_from_typer_alone(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = typer.core.build_runtime_param
    pass_strings()
    passed = parsed(*words)
    monkeypatch.setattr(typer.core, "build_runtime_param", getattr(own, "build", own))
    alone = parsed(*words)
    assert passed == alone
    assert {k: type(v) for k, v in passed.items()} == {k: type(v) for k, v in alone.items()}


@pytest.mark.parametrize("words", [("--rows", "x"), ("--rows", "0"), ("--share", "much")])
def test_what_is_wrong_is_refused(words: tuple[str, ...]) -> None:
    pass_strings()
    with pytest.raises(Exception, match="Input should be"):
        parsed(*words)


def test_a_verb_of_strings_imports_no_pydantic() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "mmcli", "models", "show", "clip"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-300:]
    assert "mmcli.workflows.models" in done.stderr and "pydantic" not in done.stderr
