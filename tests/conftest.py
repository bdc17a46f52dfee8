"""What every test may use: the real command in a process of its own, small real media."""

import fcntl
import gc
import os
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # as many tests as cores: one thread each, or they thrash
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from PIL import Image

from tests.warm import WarmServer

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., subprocess.CompletedProcess[str]]
#: Names the server of warm commands to test processes, where it was started before them.
WARM_ADDRESS = "TESTS_WARM_ADDRESS"
#: Verbs that import torch.
WARM_VERBS = ("extract", "retrieve", "fuse", "align", "finetune", "predict", "merge", "evaluate")


def pytest_configure(config: pytest.Config) -> None:
    """The server of warm commands imports while the whole suite is collected."""
    testing = bool(config.option.numprocesses) and "PYTEST_XDIST_WORKER" not in os.environ
    whole = config.args_source is config.ArgsSource.TESTPATHS
    if testing and whole and not (config.option.collectonly or config.option.help):
        kept = {**_kept_environment(), "OMP_NUM_THREADS": "1"}
        os.environ[WARM_ADDRESS] = WarmServer.start(kept, os.getpid()).address


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Nothing of what is imported is garbage, and need not be looked through ever after."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The scripts of `examples/` first: at the end one process would wait a minute for each.

    Those that take as long run where they are asked for: `pytest tests/examples`, in CI.
    """
    items.sort(key=lambda item: "tests/examples/" not in item.nodeid)
    if config.option.markexpr or any("tests/examples" in word for word in config.args):
        return
    long = [item for item in items if item.get_closest_marker("example")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if not item.get_closest_marker("example")]


def mmcli_command(*words: object) -> list[str]:
    """The command line that starts the program under test."""
    return [sys.executable, "-m", "mmcli", *map(str, words)]


@pytest.fixture(scope="session", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of commands: the suite's own cache, nothing of the user's settings.

    Bytecode is kept, whatever the user says: hundreds of starts would compile the program anew.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # that of a worker lies in it
    cache = shared / "cache"
    cache.mkdir(exist_ok=True)
    os.environ["MMCLI_CACHE_DIR"] = str(cache / "mmcli")  # of what runs in this process
    return {**_kept_environment(), "XDG_CACHE_HOME": str(cache)}


def _kept_environment() -> dict[str, str]:
    dropped = "PYTHONDONTWRITEBYTECODE"
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MMCLI_") and k != dropped}
    return {**kept, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def warm_server(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> WarmServer:
    """Starts commands without a second's importing: one for all test processes."""
    if WARM_ADDRESS in os.environ:
        return WarmServer(os.environ[WARM_ADDRESS])
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return WarmServer.start(environment, os.getpid())
    shared = tmp_path_factory.getbasetemp().parent
    with open(shared / "warm", "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if address := file.read():
            return WarmServer(address)
        server = WarmServer.start(environment, os.getppid())
        file.write(server.address)
        return server


@pytest.fixture
def run(request: pytest.FixtureRequest, environment: dict[str, str], tmp_path: Path) -> Run:
    """Run `mmcli WORDS…` in `tmp_path`; gives exit code, stdout and stderr.

    Forked from a process that has its imports behind it, unless the test changes the environment
    or the verb is one that imports next to nothing.
    """

    def command(
        *words: object,
        env: dict[str, str] | None = None,
        stdin: str | bytes | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        data = stdin.decode("utf-8", "surrogateescape") if isinstance(stdin, bytes) else stdin
        cold = env is not None or not words or words[0] not in WARM_VERBS
        start = mmcli_command if cold else request.getfixturevalue("warm_server").command
        return subprocess.run(
            start(*words),
            cwd=cwd or tmp_path,
            env={**environment, **(env or {})},
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return command


@cache
def _program() -> Any:
    """The tree of commands, which takes a moment to build and keeps nothing of a run."""
    from mmcli.cli.main import program

    return program()


@pytest.fixture
def run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """The same as `run` in this process: what imports torch a hundred times takes minutes.

    The whole program runs, from the words to the exit code; only the start of Python is spared.
    """
    from mmcli.cli.main import _explain, _run

    def command(*words: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        capfd.readouterr()
        given = list(map(str, words))
        monkeypatch.setattr(sys, "argv", ["mmcli", *given])
        try:
            code = int(_run(_program(), given))
        except Exception as error:  # as `main` does
            code = _explain(error)
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(given, code, out, err)

    return command


def picture(path: Path, seed: int, size: tuple[int, int] = (48, 40)) -> Path:
    """A small JPEG or PNG of coloured blocks, different for each seed."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST).save(path)
    return path


def recording(path: Path, seed: int, seconds: float = 0.4, rate: int = 16000) -> Path:
    """A mono 16-bit WAV of two tones."""
    t = np.arange(int(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * (200 + 37 * seed) * t) + 0.1 * np.sin(2 * np.pi * 900 * t)
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((tone * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="session")
def mixed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve items: pictures, some with a text, some with a recording."""
    root = tmp_path_factory.mktemp("mixed")
    for i in range(12):
        picture(root / f"item{i:02d}.png", i)
        if i % 2 == 0:
            (root / f"item{i:02d}.txt").write_text(f"a picture of thing number {i}", "utf-8")
        if i % 4 == 0:
            recording(root / f"item{i:02d}.wav", i)
    return root
