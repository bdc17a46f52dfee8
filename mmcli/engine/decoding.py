"""The pool of processes that read and decode files while the model computes.

A worker imports Pillow, soundfile and numpy, never torch (0.03 GB instead of 0.7), and dies with
its parent: by the kernel's own signal on Linux, by a watching thread elsewhere. A file that kills
its worker costs that file only.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from mmcli.core.errors import OutOfResource
from mmcli.data.decode import PartResult, PartTask, decode_parts
from mmcli.data.recipes import Recipe

Decoded = tuple[list[PartResult], float, float]
Recipes = Mapping[str, tuple[Recipe, ...]]

#: Below this many files a pool costs more to start than it saves.
FEW_FILES = 48
#: Sixteen decode some 4,000 pictures a second, more than a model of today takes.
MOST_WORKERS = 16
_PR_SET_PDEATHSIG = 1


def worker_count(requested: int | None, n_files: int) -> int:
    """How many decoding processes: one a core, none for few files.

    They have a lower priority than the model and run ahead of it by a few batches only, so on two
    cores two of them decode in bursts while the model waits, and lose least (measured).
    """
    if requested is not None:
        return requested
    if n_files < FEW_FILES:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, MOST_WORKERS)


def start_worker(parent: int) -> None:
    """Set up a process of a pool: it leaves Ctrl-C to its parent and never outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)  # the model goes first: its threads wait for the slowest among them
    if os.getppid() != parent:  # the parent died before the line above took effect
        os._exit(1)
    threading.Thread(target=_follow_parent, args=(parent,), daemon=True).start()


def _follow_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


class _Inline(Executor):
    """Decoding in the calling thread, for small jobs and `--workers 0`."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def,override]
        future: Future[Decoded] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class DecodePool:
    """Submits lists of parts, gives their results; survives workers that die."""

    def __init__(self, workers: int, recipes: Recipes) -> None:
        self.workers = workers
        self.recipes = dict(recipes)
        self._executor = self._start()
        self._worked = False

    def _start(self) -> Executor:
        if self.workers == 0:
            return _Inline()
        return ProcessPoolExecutor(
            self.workers,
            mp_context=get_context("spawn"),
            initializer=start_worker,
            initargs=(os.getpid(),),
        )

    def submit(self, tasks: Sequence[PartTask]) -> "Future[Decoded]":
        """Start decoding; hand the future to `result`."""
        try:
            return self._executor.submit(decode_parts, tasks, self.recipes)
        except BrokenProcessPool:
            self._executor = self._start()
            return self._executor.submit(decode_parts, tasks, self.recipes)

    def result(self, future: "Future[Decoded]", tasks: Sequence[PartTask]) -> Decoded:
        """What decoding gave; where a worker died, each part is tried again on its own."""
        try:
            done = future.result()
        except BrokenProcessPool:
            self._check()
            return self._one_by_one(tasks)
        self._worked = True
        return done

    def _check(self) -> None:
        """Raise OutOfResource when it is no file that ends the workers: they do not even start."""
        if self._worked:
            return
        try:
            self.submit([]).result()
        except BrokenProcessPool as error:
            raise OutOfResource(
                "the processes that decode files cannot be started",
                "`--workers 0` decodes without them",
            ) from error
        self._worked = True

    def _one_by_one(self, tasks: Sequence[PartTask]) -> Decoded:
        results: list[PartResult] = []
        read_s = decode_s = 0.0
        for task in tasks:
            try:
                done, read, decode = self.submit([task]).result()
            except BrokenProcessPool:
                message = "the process that decoded it died"
                done, read, decode = (
                    [PartResult(task.row, task.modality, None, "crashed", message)],
                    0.0,
                    0.0,
                )
            results += done
            read_s, decode_s = read_s + read, decode_s + decode
        return results, read_s, decode_s

    def close(self) -> None:
        """Stop the workers."""
        stop(self._executor)


def stop(executor: Executor) -> None:
    """Stop its processes without waiting for work that nobody wants any more."""
    executor.shutdown(wait=False, cancel_futures=True)
    for process in (getattr(executor, "_processes", None) or {}).values():
        process.terminate()
