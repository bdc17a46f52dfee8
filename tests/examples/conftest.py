"""A shell in which the scripts of `examples/` run as a user would run them."""

import fcntl
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from mmcli.workflows.demo_photographs import CAPTIONS, find_photographs
from tests.conftest import ROOT
from tests.warm import WarmServer

PACKAGE = "tuxpaint-stamps-default"
STAMPS = "usr/share/tuxpaint/stamps"
#: A folder in which the package is unpacked already spares its 160 MB download.
UNPACKED = os.environ.get("MMCLI_TEST_TUXPAINT", "")


@pytest.fixture
def shell(environment: dict[str, str], warm_server: WarmServer, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Run a script of `examples/` in `tmp_path`, which holds the demo's photographs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "mmcli"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(warm_server.command())} "$@"\n')
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


def _thin(whole: Path, part: Path, every: int) -> None:
    """Every so many stamps of each category, with captions and recordings, as links."""
    categories = [sorted(folder.rglob("*.png")) for folder in sorted(whole.iterdir())]
    kept = (found[::every] if len(found) > 8 * every else found for found in categories)
    for picture in chain.from_iterable(kept):
        folder = part / picture.parent.relative_to(whole)
        folder.mkdir(parents=True, exist_ok=True)
        files = [picture, picture.with_suffix(".txt")]
        for file in (*files, *picture.parent.glob(f"{picture.stem}_desc*.ogg")):
            if file.exists():
                (folder / file.name).symlink_to(file)


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """The package, unpacked once for all test processes; None where it cannot be had."""
    if UNPACKED:
        return Path(UNPACKED)
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent  # that of a worker lies in it
    root = shared / "tuxpaint-unpacked"
    with open(shared / "tuxpaint.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            root.mkdir()
            if shutil.which("apt-get") and shutil.which("dpkg-deb"):
                subprocess.run(["apt-get", "download", "-q", PACKAGE], cwd=root)
            for file in root.glob(f"{PACKAGE}_*.deb"):
                subprocess.run(["dpkg-deb", "-x", str(file), str(root)], check=True)
    return root if (root / "usr").exists() else None


@pytest.fixture
def stamps(shell, tmp_path: Path, unpacked: Path | None) -> Callable[..., str]:  # type: ignore[no-untyped-def]
    """Run a script on Tux Paint's stamps; what it prints. Skips where there is no package."""

    def command(script: str, *words: str, every: int = 1) -> str:
        """every: of how many stamps one is kept; all of them take minutes."""
        if unpacked is None:
            pytest.skip(f"apt cannot get {PACKAGE} here")
        _thin(unpacked / STAMPS, tmp_path / "tuxpaint" / STAMPS, every)
        done = shell(script, *words)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    return command
