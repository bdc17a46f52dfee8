"""Shards of an extraction shared out over the machines of a Ray cluster.

A worker makes whole shards, each from a table of its rows, so the same files come out as from one
machine of that kind. What it needs is built where it runs, by a function it is handed; results come
back to the one writer. Knows Ray and the pipeline; no model, no store, no source.
"""

import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa

from mmcli.core.errors import MissingResource, MmcliError, OutOfResource, UsageError
from mmcli.data.twins import Twins
from mmcli.engine.decoding import DecodePool
from mmcli.engine.device import Hardware, Placement, place, probe
from mmcli.engine.extraction import Extraction, Timings
from mmcli.engine.reuse import Reuse
from mmcli.engine.shards import KeyPlan, ShardRange, ShardResult

HINT = "pip install 'mmcli[ray]'"
#: Shards that a worker has at hand, so that it never waits for the next one.
AT_HAND = 2
#: A shard that took this many workers with it is not tried again.
MOST_TRIES = 2
#: Seconds that workers are given to start: another job may hold the cluster's cores for hours.
STARTING_S = 300


@dataclass(frozen=True)
class Seat:
    """One worker: on which node, with how many of its cores and GPUs."""

    node: str
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Job:
    """A shard to make: its rows, what is needed to read them, and which of them are twins."""

    range: ShardRange
    table: pa.Table
    root: str
    text_is_path: bool
    modalities: tuple[str, ...]
    twins: Mapping[str, Twins]

    def rows(self, start: int, stop: int) -> pa.Table:
        """Rows of the source by their numbers there; only those of this shard are here."""
        return self.table.slice(start - self.range.start, stop - start)


@dataclass(frozen=True)
class Orders:
    """How every worker makes its shards. plans: called once, on the worker, for the keys.

    workers: decoding processes. The rest is as in `Extraction`.
    """

    plans: Callable[[], Sequence[KeyPlan]]
    batch: int | None = None
    fail_fast: bool = False
    name: str = ""
    workers: int = 0


@dataclass(frozen=True)
class Made:
    """What a worker gives back: a shard, or the error that ends the run."""

    result: ShardResult | None
    timings: Timings
    copied: int = 0
    error: MmcliError | None = None


class Worker:
    """The process on a seat; Ray makes an actor of it."""

    def __init__(self, seat: Seat) -> None:
        threads = os.environ.get("OMP_NUM_THREADS")
        if not seat.gpus and threads == str(seat.cpus):  # Ray's setting, before torch is imported:
            del os.environ["OMP_NUM_THREADS"]  # alone on its node, torch counts cores by itself
        self._plans: Sequence[KeyPlan] | None = None
        self._decoders: DecodePool | None = None

    def hardware(self) -> Hardware:
        """What the worker's machine has."""
        return probe()

    def make(self, orders: Orders, job: Job) -> Made:
        """Make one shard. An error that a user can cause is given back, not raised."""
        timings = Timings()
        try:
            if self._plans is None:
                self._plans = orders.plans()
            extraction = Extraction(
                self._plans,
                batch=orders.batch,
                fail_fast=orders.fail_fast,
                name=orders.name,
                reuse=Reuse(job.twins, _nothing_earlier),
            )
            timings = extraction.timings
            if self._decoders is None:
                self._decoders = DecodePool(orders.workers, extraction.recipes)
            results: list[ShardResult] = []
            extraction.run(job, [job.range], self._decoders, results.append)
        except MmcliError as error:
            return Made(None, timings, error=error)
        copied = extraction.reuse.copied if extraction.reuse else 0
        return Made(results[0], timings, copied)


def _nothing_earlier(index: int, rows: Sequence[int]) -> Any:
    raise AssertionError(f"shard {index} was asked for by a worker that has only its own")


def seats(nodes: Sequence[Mapping[str, Any]], on_gpu: bool) -> list[Seat]:
    """Workers for the living nodes, as `ray.nodes()` tells them: one a GPU, else one a node.

    Raises MissingResource when there is no node that could take one.
    """
    found = []
    for node in nodes:
        if not node["Alive"]:
            continue
        cpus = int(node["Resources"].get("CPU", 0))
        gpus = int(node["Resources"].get("GPU", 0))
        if on_gpu:
            found += [Seat(node["NodeID"], max(1, cpus // gpus), 1) for _ in range(gpus)]
        elif cpus:
            found.append(Seat(node["NodeID"], cpus, 0))
    if not found:
        what = "GPU" if on_gpu else "CPU"
        raise MissingResource(
            f"no node of the Ray cluster has a {what}", "see `ray status`, and `--device`"
        )
    return found


def common_placement(device: str, precision: str, machines: Sequence[Hardware]) -> Placement:
    """The placement that all machines share. Raises UsageError when they would differ."""
    placements = sorted({(p.device, p.dtype) for p in _placed(device, precision, machines)})
    if len(placements) > 1:
        told = " and ".join(Placement(*found).precision for found in placements)
        raise UsageError(
            f"the machines of the Ray cluster would compute in {told}",
            "vectors of one store are made alike: give `--precision fp32`",
        )
    return Placement(*placements[0])


def _placed(device: str, precision: str, machines: Sequence[Hardware]) -> Iterator[Placement]:
    for machine in machines:
        yield place(device, precision, machine)


class Crew:
    """The workers of a cluster, ready to make shards; made by `hired`.

    timings, copied: what was spent so far. lost: workers that died.
    """

    def __init__(self, ray: Any, workers: Sequence[Any], placement: Placement) -> None:
        self._ray = ray
        self._workers = list(workers)
        self.placement = placement
        self.timings = Timings()
        self.copied = 0
        self.lost = 0

    @property
    def size(self) -> int:
        """How many workers there are."""
        return len(self._workers)

    def run(
        self, orders: Orders, jobs: Iterator[Job], write: Callable[[ShardResult], object]
    ) -> None:
        """Make every job's shard and hand it to `write`, in the order in which they are done.

        Raises what a worker says a user should mend, and OutOfResource when workers keep dying.
        """
        again: deque[tuple[Job, int]] = deque()
        waiting: dict[Future[Made], tuple[Job, int, Any]] = {}
        load = dict.fromkeys(self._workers, 0)
        while True:
            for worker in self._workers:
                while load[worker] < AT_HAND:
                    job, tries = again.popleft() if again else (next(jobs, None), 0)
                    if job is None:
                        break
                    asked = worker.make.remote(orders, job).future()
                    waiting[asked] = (job, tries + 1, worker)
                    load[worker] += 1
            if not waiting:
                return
            for done in wait(waiting, return_when=FIRST_COMPLETED).done:
                job, tries, worker = waiting.pop(done)
                load[worker] -= 1
                try:
                    made = done.result()
                except self._ray.exceptions.RayActorError:
                    self._lose(worker, job, tries)
                    again.append((job, tries))
                else:
                    self._take(made, write)

    def _take(self, made: Made, write: Callable[[ShardResult], object]) -> None:
        for stage in fields(Timings):
            spent = getattr(self.timings, stage.name) + asdict(made.timings)[stage.name]
            setattr(self.timings, stage.name, spent)
        self.copied += made.copied
        if made.error is not None:
            raise made.error
        assert made.result is not None
        write(made.result)

    def _lose(self, worker: Any, job: Job, tries: int) -> None:
        """Go on without a worker that died; its shards go to the others."""
        if worker in self._workers:
            self._workers.remove(worker)
            self.lost += 1
        rows = f"rows {job.range.start + 1} to {job.range.stop}"
        if tries >= MOST_TRIES:
            raise OutOfResource(
                f"{rows} ended {tries} workers of the Ray cluster",
                "a smaller `--shard-size` or `--batch` takes less memory; `--resume` goes on",
            )
        if not self._workers:
            raise OutOfResource(
                f"the last worker of the Ray cluster died while it made {rows}",
                "`--resume` goes on with what is finished",
            )


@contextmanager
def hired(device: str, precision: str) -> Iterator[Crew]:
    """Workers on every node of the Ray cluster at RAY_ADDRESS; without it, on this machine.

    Raises MissingResource without Ray, a GPU that was asked for, or a cluster at the address, and
    OutOfResource where others hold it.
    """
    if device.startswith("cuda:"):
        raise UsageError(f"`--engine ray --device {device}`: Ray gives out GPUs", "use cuda")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    try:
        import ray
    except ImportError as error:
        raise MissingResource("`--engine ray`: package `ray` is not installed", HINT) from error
    address = os.environ.get("RAY_ADDRESS") or "local"
    _check_address(address)
    with _own_signals():
        try:
            ray.init(
                address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except ConnectionError as error:
            raise MissingResource(
                f"the Ray cluster at `{address}` refuses: {' '.join(str(error).split())[:200]}",
                "RAY_ADDRESS says where one is; `ray status` must work there",
            ) from error
    with ExitStack() as stack:
        stack.callback(ray.shutdown)
        null = stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(redirect_stdout(null))  # Ray tells of dead workers where data goes
        nodes = ray.nodes()
        gpus = any(node["Alive"] and node["Resources"].get("GPU") for node in nodes)
        on_gpu = device == "cuda" or (device == "auto" and gpus)
        workers = [_hire(ray, seat) for seat in seats(nodes, on_gpu)]
        asked = [worker.hardware.remote().future() for worker in workers]
        if wait(asked, timeout=STARTING_S).not_done:
            raise OutOfResource(
                f"not all {len(workers)} workers of the Ray cluster started within {STARTING_S} s",
                "`ray status` shows who holds its cores and GPUs",
            )
        machines = [one.result() for one in asked]
        yield Crew(ray, workers, common_placement(device, precision, machines))


def _check_address(address: str) -> None:
    """Raise MissingResource when nobody listens at `host:port`; Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise MissingResource(
            f"no Ray cluster answers at `{address}`", "RAY_ADDRESS says where one is"
        ) from error


def _hire(ray: Any, seat: Seat) -> Any:
    stay = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(seat.node, soft=False)
    actor = ray.remote(Worker).options(
        num_cpus=seat.cpus, num_gpus=seat.gpus, scheduling_strategy=stay
    )
    return actor.remote(seat)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes the handler of SIGTERM for itself; the program's own is put back."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
