"""Who makes the shards of an extraction: this machine, or the workers of a Ray cluster.

Both are handed the same rows and give the same shards. Prints nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mmcli.core.errors import UsageError
from mmcli.data.source import Source
from mmcli.data.twins import Twins
from mmcli.engine.decoding import DecodePool, worker_count
from mmcli.engine.device import Placement, place, probe
from mmcli.engine.extraction import Extraction, Timings
from mmcli.engine.reuse import Reuse
from mmcli.engine.shards import KeyPlan, ShardRange, ShardResult
from mmcli.engine.torch_stack import load_torch
from mmcli.workflows.extract.plan import ExtractConfig, plan_keys

if TYPE_CHECKING:
    from mmcli.engine.cluster import Crew, Job

Write = Callable[[ShardResult], object]


@dataclass(frozen=True)
class Work:
    """Shards of a source that are to be made. n_files: about how many have to be decoded.

    reuse: what may be copied between rows, by this machine; twins: the same, for others.
    """

    source: Source
    shards: Sequence[ShardRange]
    n_files: int
    reuse: Reuse | None = None
    twins: Mapping[str, Twins] = field(default_factory=dict)


@dataclass(frozen=True)
class Spent:
    """Seconds by stage, how many parts were copied from their twins, and what went wrong."""

    timings: Timings = field(default_factory=Timings)
    copied: int = 0
    warnings: tuple[str, ...] = ()


class Engine:
    """Makes shards where it was told to; made by `engine_of`.

    placement: where the models run and in what precision. crew: None is this machine.
    """

    def __init__(
        self, config: ExtractConfig, placement: Placement, crew: "Crew | None" = None
    ) -> None:
        self._config = config
        self.placement = placement
        self._crew = crew

    @property
    def loading(self) -> Placement:
        """Where this machine loads the encoders: only to know them, where others run them."""
        return self.placement if self._crew is None else place("cpu", "fp32", probe())

    def run(
        self,
        plans: Sequence[KeyPlan],
        work: Work,
        write: Write,
        on_progress: Callable[[int], None],
    ) -> Spent:
        """Make every shard and hand it to `write`. on_progress: called with the parts done."""
        if self._crew is not None:
            return self._by_crew(self._crew, plans, work, write, on_progress)
        config, source = self._config, work.source
        extraction = Extraction(
            plans,
            batch=config.batch,
            fail_fast=config.on_error == "fail",
            name=config.source,
            reuse=work.reuse,
            on_progress=on_progress,
        )
        workers = 0 if source.in_this_process else worker_count(config.workers, work.n_files)
        decoders = DecodePool(workers, extraction.recipes)
        try:
            extraction.run(source, work.shards, decoders, write)
        finally:
            decoders.close()
        return Spent(extraction.timings, work.reuse.copied if work.reuse else 0)

    def _by_crew(
        self,
        crew: "Crew",
        plans: Sequence[KeyPlan],
        work: Work,
        write: Write,
        on_progress: Callable[[int], None],
    ) -> Spent:
        from mmcli.engine.cluster import Orders

        config = self._config
        if work.source.in_this_process:
            raise UsageError(
                "`--engine ray`: parts lie in this process's memory", "use `--engine local`"
            )
        chosen: dict[str, tuple[str, ...]] = {}
        for plan in plans:
            modality = plan.encoder.card.modality
            chosen[modality] = tuple(dict.fromkeys((*chosen.get(modality, ()), plan.reference)))
        a_worker = -(-work.n_files // max(1, min(crew.size, len(work.shards))))
        orders = Orders(
            partial(load_plans, config, chosen, crew.placement),
            batch=config.batch,
            fail_fast=config.on_error == "fail",
            name=config.source,
            workers=worker_count(config.workers, a_worker),
        )
        parts = len(chosen)
        done = 0

        def written(result: ShardResult) -> None:
            nonlocal done
            write(result)
            done += parts * (result.range.stop - result.range.start)
            on_progress(done)

        crew.run(orders, _jobs(work), written)
        lost = (
            f"{crew.lost} of {crew.lost + crew.size} workers of the Ray cluster died; the others"
            " made their shards (Ray's logs say more)"
        )
        return Spent(crew.timings, crew.copied, (lost,) if crew.lost else ())


def load_plans(
    config: ExtractConfig, chosen: Mapping[str, Sequence[str]], placement: Placement
) -> Sequence[KeyPlan]:
    """The keys of an extraction with their encoders, loaded in this process."""
    load_torch().manual_seed(config.seed)  # for encoders that draw, such as timm's
    return plan_keys(config, chosen, placement)


@contextmanager
def engine_of(config: ExtractConfig) -> Iterator[Engine]:
    """The engine that was asked for. A dry run needs no other machine."""
    if config.engine == "ray" and not config.dry_run:
        from mmcli.engine.cluster import hired

        with hired(config.device, config.precision) as crew:
            yield Engine(config, crew.placement, crew)
        return
    yield Engine(config, place(config.device, config.precision, probe()))


def _jobs(work: Work) -> "Iterator[Job]":
    """Each shard with its rows, read when its turn comes."""
    from mmcli.engine.cluster import Job

    source = work.source
    for shard in work.shards:
        table = source.rows(shard.start, shard.stop).combine_chunks()
        modalities = tuple(source.modalities)
        twins = {m: _within(found, shard) for m, found in work.twins.items()}
        yield Job(shard, table, source.root, source.text_is_path, modalities, twins)


def _within(twins: Twins, shard: ShardRange) -> Twins:
    low, high = np.searchsorted(twins.rows, [shard.start, shard.stop])
    return replace(twins, rows=twins.rows[low:high], first=twins.first[low:high])
