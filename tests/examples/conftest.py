"""A shell in which the scripts of `examples/` run as a user would run them."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcli.workflows.demo_photographs import CAPTIONS, find_photographs
from tests.conftest import ROOT

#: A folder in which tuxpaint-stamps-default is unpacked already spares its 160 MB download.
UNPACKED = os.environ.get("MMCLI_TEST_TUXPAINT", "")


@pytest.fixture
def shell(environment: dict[str, str], tmp_path: Path):  # type: ignore[no-untyped-def]
    """Run a script of `examples/` in `tmp_path`, which holds the demo's photographs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "mmcli"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m mmcli "$@"\n')
    program.chmod(0o755)
    photos = tmp_path / "mmcli-demo" / "photos"
    photos.mkdir(parents=True)
    for name in CAPTIONS:
        shutil.copyfile(find_photographs() / name, photos / name)

    def command(script: str, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
        search = f"{programs}{os.pathsep}{path or environment['PATH']}"
        return subprocess.run(
            [shutil.which("bash") or "bash", str(ROOT / "examples" / script), *words],
            cwd=tmp_path,
            env={**environment, "PATH": search},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )

    return command


@pytest.fixture
def stamps(shell, tmp_path: Path) -> Callable[..., str]:  # type: ignore[no-untyped-def]
    """Run a script on Tux Paint's stamps; what it prints. Skips where there is no package."""

    def command(script: str, *words: str) -> str:
        if UNPACKED:
            (tmp_path / "tuxpaint").mkdir()
            (tmp_path / "tuxpaint" / "usr").symlink_to(Path(UNPACKED) / "usr")
        done = shell(script, *words)
        assert done.returncode == 0, done.stderr
        if "nothing done" in done.stdout:
            pytest.skip("apt cannot get tuxpaint-stamps-default here")
        return str(done.stdout)

    return command
