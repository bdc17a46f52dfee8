"""The demonstration finds what it says it finds, and its commands are real ones."""

import json
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmcli.workflows.demo import QUERIES
from tests.conftest import Run
from tests.warm import WarmServer


@dataclass(frozen=True)
class Shown:
    """A demo that ran: where, and what it printed."""

    cwd: Path
    out: str
    log: str

    def after(self, command: str) -> str:
        """What stands under a command, up to the blank line."""
        return self.out.split(f"$ {command}\n")[1].split("\n\n")[0] + "\n"


@pytest.fixture(scope="module")
def shown(
    environment: dict[str, str],
    warm_server: WarmServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Shown:
    cwd = tmp_path_factory.mktemp("demo")
    words = warm_server.command("demo", "-o", "my demo")
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Shown(cwd, done.stdout, done.stderr)


def commands(text: str) -> list[str]:
    return re.findall(r"^\$ (mmcli .*)$", text, re.MULTILINE)


def test_every_query_finds_its_photograph_first(shown: Shown) -> None:
    searches = [line for line in commands(shown.out) if " search " in line][: len(QUERIES)]
    for asked, line in zip(QUERIES, searches, strict=True):
        best = shown.after(line).splitlines()[1].split()
        assert best[0] == "1"
        assert best[2] == asked.expected, asked.name
    assert f"{len(QUERIES)} of {len(QUERIES)} queries found the right photograph" in shown.out


def test_what_was_heard_is_said(shown: Shown) -> None:
    assert re.search(r"heard: .*coffee", shown.log)


def test_a_command_shown_gives_the_result_shown(shown: Shown, run: Run) -> None:
    line = next(line for line in commands(shown.out) if "a kitten" in line)
    done = run(*shlex.split(line)[1:], cwd=shown.cwd)
    assert done.returncode == 0, done.stderr
    assert done.stdout == shown.after(line)


def test_the_directory_stays_and_is_sound(shown: Shown, run_here: Run) -> None:
    folder = shown.cwd / "my demo"
    for part in ("store", "index"):
        assert run_here("verify", folder / part).returncode == 0
    page = (folder / "gallery.html").read_text(encoding="utf-8")
    assert page.count("<section>") == len(QUERIES)
    assert "data:image/jpeg" in page
    assert "data:audio/wav" in page
    assert (folder / "photos" / "chelsea.txt").read_text(encoding="utf-8").strip()
    rows = (folder / "queries" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["id"] for row in rows] == [asked.name for asked in QUERIES]


def test_a_demo_is_not_replaced_unasked(shown: Shown, run: Run) -> None:
    before = (shown.cwd / "my demo" / "gallery.html").stat().st_mtime_ns
    done = run("demo", "-o", "my demo", cwd=shown.cwd)
    assert done.returncode == 3
    assert "--force" in done.stderr
    assert (shown.cwd / "my demo" / "gallery.html").stat().st_mtime_ns == before


def test_another_directory_is_never_replaced(run_here: Run, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("three years", "utf-8")
    (tmp_path / "file").write_text("one", "utf-8")
    for name in ("work", "file"):
        done = run_here("demo", "-o", name, "--force")
        assert done.returncode == 3
        assert f"`{name}`" in done.stderr
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["thesis.txt"]


def test_a_dry_run_shows_the_commands_and_writes_nothing(run_here: Run, tmp_path: Path) -> None:
    done = run_here("demo", "-n")
    assert done.returncode == 0
    assert len(commands(done.stdout)) == len(QUERIES) + 3
    assert list(tmp_path.iterdir()) == []


def test_without_the_photographs_nothing_is_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "hide" / "skimage").mkdir(parents=True)
    (tmp_path / "hide" / "skimage" / "__init__.py").write_text("", "utf-8")
    paths = f"{tmp_path / 'hide'}:{Path(__file__).resolve().parents[2]}"
    done = run("demo", env={"PYTHONPATH": paths})
    assert done.returncode == 4
    assert "mmcli[demo]" in done.stderr
    assert not (tmp_path / "mmcli-demo").exists()
