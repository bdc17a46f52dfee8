"""Keeps a long run's memory where it began: what is freed goes back to the system.

oneDNN and its wrapper in torch keep a compiled kernel for each of the last 1,024 shapes, which a
source of texts, where nearly every batch has its own, fills with a gigabyte; and glibc keeps what
was freed. Knows nothing about what runs.
"""

import ctypes
import os
from functools import cache
from typing import Any

#: Kernels kept: more than the layers of two convolutional networks, few enough to be small.
KERNELS = 256


def limit_kernels() -> None:
    """Keep few compiled kernels, unless the user says how many; called before torch is imported."""
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, str(KERNELS))


def give_back() -> None:
    """Return freed memory to the system, where the C library can."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    try:
        return ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):  # not Linux, or another C library
        return None
