"""Memory of a long run: quick to get again while a shard lasts, given back when it ends.

What a network computes is some hundred megabytes that are freed and asked for at every layer. The
C library would map each large piece anew, and the system clear it page by page: a third of the
time of EfficientNet. oneDNN and its wrapper in torch keep a compiled kernel for each of the last
1,024 shapes, which a source of texts, where nearly every batch has its own, fills with a gigabyte;
and glibc keeps what was freed. Knows nothing about what runs.
"""

import ctypes
import os
from functools import cache
from typing import Any

#: Kernels kept: more than the layers of two convolutional networks, few enough to be small.
KERNELS = 256
#: glibc's numbers for what `mallopt` sets, and bytes.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_NEVER, _STEP = (1 << 31) - 1, 64 << 20


def limit_kernels() -> None:
    """Keep few compiled kernels, unless the user says how many; called before torch is imported."""
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, str(KERNELS))


def keep_freed() -> None:
    """Let the C library hand out again what was freed, whatever its size, until `give_back`.

    Does nothing where the user says by MALLOC_* variables how memory is kept.
    """
    library = _library()
    told = any(name.startswith("MALLOC_") for name in os.environ)
    if told or not hasattr(library, "mallopt"):
        return
    for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _STEP)):
        library.mallopt(parameter, value)


def give_back() -> None:
    """Return freed memory to the system, where the C library can."""
    library = _library()
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


@cache
def _library() -> Any:
    try:
        return ctypes.CDLL("libc.so.6")
    except OSError:  # not Linux, or another C library
        return None
