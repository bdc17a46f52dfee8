"""Which FAISS index suits so many vectors of that width in so much memory: pure arithmetic.

Knows nothing about data and never imports FAISS. The rules follow FAISS's own guide ("Guidelines
to choose an index"): exact search while it is fast, then inverted lists, and codes as small as
memory asks for.
"""

import math
import os

#: Exact search over this many vectors takes a few milliseconds and is always right.
FLAT_ROWS = 200_000
#: The share of memory that an index may take.
MEMORY_SHARE = 0.5
#: FAISS's k-means wants at least 39 training points a list, and uses at most 256.
MIN_POINTS, MAX_POINTS = 39, 256
#: Bytes that inverted lists add to each vector (its id).
ID_BYTES = 8


def choose(n: int, dim: int, memory_bytes: int) -> str:
    """A FAISS factory string for `n` vectors `(dim,)` that fits `memory_bytes`.

    Flat up to 200,000 vectors; beyond, inverted lists over the most exact codes that fit: raw
    vectors, one byte a dimension, then product quantisation of ever fewer bytes.
    """
    room = int(memory_bytes * MEMORY_SHARE)
    if n <= FLAT_ROWS and (n < 10_000 or n * dim * 4 <= room):
        return "Flat"
    lists = list_count(n)
    per_vector = max(1, room // max(1, n)) - ID_BYTES
    if per_vector >= dim * 4:
        return f"IVF{lists},Flat"
    if per_vector >= dim:
        return f"IVF{lists},SQ8"
    # 4 bits a sub-vector with fast-scan cost half a byte each; 8 bits are more exact
    parts = [m for m in (96, 64, 48, 32, 16, 8) if dim % m == 0 and m <= max(8, per_vector)]
    if parts:
        return f"IVF{lists},PQ{parts[0]}"
    return f"OPQ16_{_multiple(dim, 16)},IVF{lists},PQ16"


def list_count(n: int) -> int:
    """Inverted lists for `n` vectors: a power of two near 4 sqrt(n) that can be trained on them."""
    wanted = 2 ** round(math.log2(4 * math.sqrt(max(1, n))))
    return max(1, min(wanted, n // MIN_POINTS))


def probes(lists: int) -> int:
    """Lists to look into by default: a sixteenth, at least 8."""
    return min(lists, max(8, lists // 16))


def training_size(n: int, lists: int) -> int:
    """How many vectors to train on: what k-means uses, and never fewer than 20,000 of many."""
    return min(n, max(20_000, MAX_POINTS * lists), 2_000_000)


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


def _multiple(dim: int, of: int) -> int:
    return max(of, dim // of * of)
