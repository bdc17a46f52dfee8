"""The facts of many parts, in their order, by processes that never import torch.

A file that kills its process costs that file only. Knows nothing about what the facts are for.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context

from mmcli.data.decode import PartTask
from mmcli.data.probes import PartFacts, Probing, probe_parts
from mmcli.engine.decoding import start_worker, stop

#: Parts handed to a process at once, and such lists waiting at most, for each process.
_CHUNK = 64
_AHEAD = 4


def probe_all(tasks: Iterable[PartTask], probing: Probing, workers: int) -> Iterator[PartFacts]:
    """The facts of every part. workers: processes; 0 looks at them here, one after another."""
    waiting = iter(tasks)
    chunks = iter(lambda: list(islice(waiting, _CHUNK)), [])
    if workers == 0:
        for chunk in chunks:
            yield from probe_parts(chunk, probing)
        return
    pool = _Pool(workers, probing)
    pending: deque[tuple[list[PartTask], Future[list[PartFacts]]]] = deque()
    try:
        for chunk in chunks:
            pending.append((chunk, pool.submit(chunk)))
            if len(pending) > _AHEAD * workers:
                yield from pool.result(*pending.popleft())
        while pending:
            yield from pool.result(*pending.popleft())
    finally:
        pool.close()


class _Pool:
    """Processes that probe; a new set when one has died."""

    def __init__(self, workers: int, probing: Probing) -> None:
        self._workers = workers
        self._probing = probing
        self._executor = self._start()

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._workers,
            mp_context=get_context("spawn"),
            initializer=start_worker,
            initargs=(os.getpid(),),
        )

    def submit(self, tasks: Sequence[PartTask]) -> "Future[list[PartFacts]]":
        try:
            return self._executor.submit(probe_parts, tasks, self._probing)
        except BrokenProcessPool:
            self._executor = self._start()
            return self._executor.submit(probe_parts, tasks, self._probing)

    def result(
        self, tasks: Sequence[PartTask], future: "Future[list[PartFacts]]"
    ) -> Iterator[PartFacts]:
        """The facts of a list; where its process died, of each part on its own."""
        try:
            yield from future.result()
        except BrokenProcessPool:
            for task in tasks:
                try:
                    yield from self.submit([task]).result()
                except BrokenProcessPool:
                    message = "the process that read it died"
                    yield PartFacts(task.row, task.modality, "crashed", message)

    def close(self) -> None:
        """Stop the processes."""
        stop(self._executor)
