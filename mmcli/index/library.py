"""FAISS, loaded with the matrix kernels that this processor can run; everything takes it from here.

The wheels carry an OpenBLAS of 2021 (0.3.15), which takes a processor that is newer than itself for
a Pentium 4: exact search was four to nine times slower (Emerald Rapids, two cores).
`OPENBLAS_CORETYPE` is read when the library is loaded; what the user sets there stands.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VARIABLE = "OPENBLAS_CORETYPE"
#: OpenBLAS's names of kernels, the widest first, and what a processor must have for them.
_KERNELS = {
    "SkylakeX": {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "fma"},
    "Haswell": {"avx2", "fma"},
}


def kernel_for(cpuinfo: str) -> str | None:
    """OpenBLAS's name of the best kernels for what Linux says of a processor; None: its own choice.

    cpuinfo: the text of `/proc/cpuinfo`.
    """
    flags = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    having = set(flags.partition(":")[2].split())
    return next((name for name, needs in _KERNELS.items() if needs <= having), None)


@contextmanager
def _named_kernel(cpuinfo: Path = Path("/proc/cpuinfo")) -> Iterator[None]:
    """The variable set while a library is loaded, then as it was: others choose by themselves."""
    try:
        kernel = None if _VARIABLE in os.environ else kernel_for(cpuinfo.read_text("utf-8"))
    except OSError:  # not Linux
        kernel = None
    if kernel is None:
        yield
        return
    os.environ[_VARIABLE] = kernel
    try:
        yield
    finally:
        del os.environ[_VARIABLE]


with _named_kernel():
    import faiss

__all__ = ["faiss"]
