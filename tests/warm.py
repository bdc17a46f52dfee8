"""Commands that start in milliseconds: forks of a process that has imported everything.

`python -m mmcli extract` spends seconds on importing torch before it does anything, and the suite
starts hundreds of commands. A server that all test processes share imports the libraries once,
without using them, and forks for every command: the whole program runs in a process of its own,
with its words, directory, environment and streams, from `main` to its exit code. `warm_client.py`
is what scripts find on their PATH instead of `mmcli`. Tests of start-up, imports and kills start
the real program.
"""

import array
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import secrets
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
CLIENT = Path(__file__).with_name("warm_client.py")
#: What the commands import inside of functions, and need longest for.
LIBRARIES = (
    *("numpy", "pyarrow.parquet", "pyarrow.dataset", "mmcli.index.library", "PIL.Image"),
    *("soundfile", "duckdb"),
    *("onnxruntime", "safetensors.torch", "tokenizers", "timm", "rich.progress", "rich.table"),
    *("transformers.models.bert.modeling_bert", "transformers.models.clip.modeling_clip"),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto"),
    *("torchvision.transforms.v2", "torchaudio.transforms", "peft"),
)
FIRST_WORD = b"ready"
#: Kept, so that Python does not warn of processes that are still running.
_started: list["subprocess.Popen[bytes]"] = []


class WarmServer:
    """The server as its tests see it: where it listens. It ends with the process `owner`.

    What is asked before its imports are done waits for them. Where the system has no `pidfd_open`,
    commands start the real program.
    """

    def __init__(self, address: str = "") -> None:
        self.address = address

    @classmethod
    def start(cls, environment: Mapping[str, str], owner: int) -> "WarmServer":
        """A new server, which goes on importing when this returns."""
        if not hasattr(os, "pidfd_open"):
            return cls()
        address = f"mmcli-warm-{owner}-{secrets.token_hex(4)}"
        command = [sys.executable, "-m", "tests.warm", address, str(owner)]
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert process.stdout is not None
        with process.stdout as said:
            if said.read(len(FIRST_WORD)) != FIRST_WORD:
                raise RuntimeError("the server of warm commands did not start")
        _started.append(process)
        return cls(address)

    def command(self, *words: object) -> list[str]:
        """The command line that has the server run `mmcli WORDS…`."""
        if not self.address:
            return [sys.executable, "-m", "mmcli", *map(str, words)]
        return [sys.executable, "-I", "-S", str(CLIENT), self.address, *map(str, words)]


def _import_everything() -> None:
    from mmcli.engine.torch_stack import load_transformers

    load_transformers()
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    import mmcli

    for module in pkgutil.walk_packages(mmcli.__path__, "mmcli."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # of an extra that is not installed
                importlib.import_module(module.name)


def _serve(address: str, owner: int) -> None:
    """Accept connections, each of which is one command, until the owner has ended."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{address}")  # a name of Linux's own: paths of tests can be too long
    listener.listen(64)
    sys.stdout.buffer.write(FIRST_WORD)
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _import_everything()
    gc.freeze()
    gone = os.pidfd_open(owner)
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    waiting.register(gone, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj == gone:
                return
            if key.fileobj is listener:
                connection, _ = listener.accept()
                child = _start(connection, listener)
                ended = os.pidfd_open(child)
                waiting.register(ended, selectors.EVENT_READ, (child, ended, connection))
                waiting.register(connection, selectors.EVENT_READ, (child, ended, connection))
            else:
                _finish(waiting, *key.data)


def _finish(waiting: Any, child: int, ended: int, connection: socket.socket) -> None:
    """The command is over, or whoever asked for it is gone."""
    if waiting.get_map().get(ended) is None:
        return
    done, status = os.waitpid(child, os.WNOHANG)
    if done == 0:  # the client was killed: so is its command
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    waiting.unregister(ended)
    waiting.unregister(connection)
    os.close(ended)
    with contextlib.suppress(OSError):
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    connection.close()


def _start(connection: socket.socket, listener: socket.socket) -> int:
    """The number of the new process."""
    asked, streams = _received(connection)
    child = os.fork()
    if not child:
        listener.close()
        code = 70
        try:
            _become(asked, streams)
        except SystemExit as asked_for:
            code = int(asked_for.code or 0)
        finally:
            _leave(code)
    for stream in streams:
        os.close(stream)
    return child


def _become(asked: dict[str, Any], streams: list[int]) -> NoReturn:
    """Turn this process into the command that the client asks for."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    _renew_streams()
    import random

    import numpy as np

    random.seed()
    np.random.seed()
    main = importlib.import_module("mmcli.__main__")
    sys.modules["__main__"] = main  # what processes that it spawns import
    sys.argv = [str(main.__file__), *asked["words"]]
    main.main()
    raise AssertionError("the program did not exit")


def _leave(code: int) -> NoReturn:
    """What Python does at its end, without the libraries' own: they wait for threads that did not
    come along."""
    import atexit
    import threading

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _received(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Words, folder and environment of a command, and its three streams."""
    streams = array.array("i")
    message, ancillary, _, _ = connection.recvmsg(1 << 16, socket.CMSG_LEN(3 * streams.itemsize))
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            streams.frombytes(content[: 3 * streams.itemsize])
    while not message.endswith(b"\0"):
        message += connection.recv(1 << 16)
    return json.loads(message[:-1].decode("utf-8", "surrogateescape")), list(streams)


def _renew_streams() -> None:
    """Python's own streams on the new file numbers, as a new process would have them."""
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    for name, number in (("stdout", 1), ("stderr", 2)):
        line = os.isatty(number) or number == 2
        stream = open(  # noqa: SIM115
            number, "w", buffering=1 if line else -1, encoding="utf-8", closefd=False
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
