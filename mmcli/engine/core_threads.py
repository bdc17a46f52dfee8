"""Work in blocks on every core: one thread a core, each with torch's products to itself.

Knows nothing about what the blocks are.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def mapped(
    torch: Any, function: Callable[[int], T], starts: Sequence[int], on_gpu: bool
) -> Iterator[T]:
    """The function of each start, in order; on a CPU one thread for each core torch may use.

    Threads of our own, each with a product on one core, wait for nobody: torch's would meet at
    every comparison, and on a shared machine the meetings cost more than the work.
    """
    if on_gpu or not len(starts):
        yield from map(function, starts)
        return
    threads = torch.get_num_threads()
    try:
        workers = min(threads, len(starts))
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(function, starts)
    finally:
        torch.set_num_threads(threads)
