"""Every error says what to do: a message alone leaves the user where they were."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run, picture

FAMILY = {"UsageError", "BadInput", "MissingResource", "OutOfResource", "SpaceMismatch"}


def without_hint(path: Path) -> list[str]:
    """Places where an error of the family is made of a message only."""
    tree = ast.parse(path.read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for call in calls
        if isinstance(call.func, ast.Name)
        and call.func.id in FAMILY
        and len(call.args) < 2
        and not call.keywords
        and not any(isinstance(argument, ast.Starred) for argument in call.args)
    ]


def test_every_error_of_the_family_has_a_hint() -> None:
    assert [place for path in (ROOT / "mmcli").rglob("*.py") for place in without_hint(path)] == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("extract", ".", "-o", "/proc/no/such", "--only", "image"), 3),
        (("extract", ".", "-o", "x" * 300, "--only", "image"), 3),
        (("extract", ".", "-o", "x", "--batch", "0"), 2),
        (("extract", ".", "-o", "x", "--only", "image", "--dim", "9999"), 2),
        (("extract", "--resume", "--force", ".", "-o", "x"), 2),
        (("verify", "nowhere"), 3),
        (("verify", "."), 3),
        (("retrieve", "index", ".", "-o", "x"), 3),
        (("retrieve", "search", "nowhere", "a tiger"), 3),
    ],
)
def test_an_error_is_two_lines(
    run_here: Run, tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    picture(tmp_path / "a.png", 1)
    done = run_here(*words)
    assert done.returncode == code, done.stderr
    said = [line for line in done.stderr.splitlines() if " items; " not in line]  # the log
    assert [line.partition(": ")[0] for line in said] == ["error", "hint"]
