"""Which FAISS index suits so many vectors of that width in so much memory: pure arithmetic.

Knows nothing about data and never imports FAISS. The rules follow FAISS's own guide ("Guidelines
to choose an index"): exact search while it is fast, then inverted lists, and codes as small as
memory asks for.
"""

import math
import os
import re

#: Exact search over this many vectors takes a few milliseconds and is always right.
FLAT_ROWS = 50_000
#: The share of free memory that an index may take unless the user says otherwise.
MEMORY_SHARE = 0.5
#: FAISS's k-means wants at least 39 training points a list; more than 100 gain little.
MIN_POINTS, POINTS = 39, 100
#: Bytes that inverted lists add to each vector (its id).
ID_BYTES = 8
#: Dimensions that one 4-bit code stands for where the vectors themselves rank its candidates.
FAST_SCAN_DIMS = 4


def candidates(
    n: int, dim: int, room: int, *, target: float = 0.95, on_disk: bool = False
) -> list[str]:
    """FAISS factory strings worth trying for `n` vectors `(dim,)` in `room` bytes of memory.

    Flat alone up to 50,000 vectors and for a target recall of 1. Beyond, inverted lists over raw
    vectors, over one byte a dimension, and over 4-bit codes whose best are ranked by the vectors,
    or where these do not fit by one byte a dimension (only in memory); where nothing of it fits,
    product quantisation of ever fewer bytes. HNSW is not among them: it takes minutes to build,
    cannot remove, and was slower at equal recall.
    """
    if (n <= FLAT_ROWS or target >= 1) and not on_disk and index_bytes("Flat", n, dim) <= room:
        return ["Flat"]
    lists = f"IVF{list_count(n)}"
    if on_disk:
        return [f"{lists},SQ8", f"{lists},Flat"]
    parts = _parts(dim, dim // FAST_SCAN_DIMS)
    fast = [f"{lists},PQ{parts}x4fs,{by}" for by in ("RFlat", "Refine(SQ8)") if parts >= 8]
    fast = [string for string in fast if index_bytes(string, n, dim) <= room][:1]
    others = [f"{lists},SQ8", f"{lists},Flat"]
    found = fast + [string for string in others if index_bytes(string, n, dim) <= room]
    if found:
        return found
    smaller = [f"{lists},PQ{m}" for m in (96, 64, 48, 32, 16, 8) if dim % m == 0]
    fitting = [string for string in smaller if index_bytes(string, n, dim) <= room]
    if fitting:
        return fitting[1::-1]
    return smaller[-1:] or [f"OPQ16_{_multiple(dim, 16)},{lists},PQ16"]


def index_bytes(factory: str, n: int, dim: int) -> int:
    """About how many bytes an index of such a string takes, of those that `candidates` names."""
    total = 0
    for part in factory.split(","):
        if found := re.fullmatch(r"IVF(\d+)", part):
            total += int(found[1]) * dim * 4 + n * ID_BYTES
        elif part in ("Flat", "RFlat"):
            total += n * dim * 4
        elif part in ("SQ8", "Refine(SQ8)"):
            total += n * dim
        elif found := re.fullmatch(r"PQ(\d+)(x4fs)?", part):
            total += n * int(found[1]) // (2 if found[2] else 1)
    return total


def list_count(n: int) -> int:
    """Inverted lists for `n` vectors: a power of two near 4 sqrt(n) that can be trained on them."""
    wanted = 2 ** round(math.log2(4 * math.sqrt(max(1, n))))
    return max(1, min(wanted, n // MIN_POINTS))


def probes(lists: int) -> int:
    """Lists to look into by default: a sixteenth, at least 8."""
    return min(lists, max(8, lists // 16))


def training_size(n: int, lists: int) -> int:
    """How many vectors to train on: what k-means needs, and never fewer than 20,000 of many."""
    return min(n, max(20_000, POINTS * lists), 2_000_000)


def available_memory() -> int:
    """Bytes of memory that this machine says are free, else of all it has."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 8 << 30


def _parts(dim: int, most: int) -> int:
    """The largest even divisor of `dim` that is at most `most`, 0 where there is none."""
    return max((m for m in range(2, most + 1, 2) if dim % m == 0), default=0)


def _multiple(dim: int, of: int) -> int:
    return max(of, dim // of * of)
