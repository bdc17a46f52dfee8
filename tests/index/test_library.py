"""FAISS's matrix kernels: the best that the processor has, unless the user names some."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from mmcli.index.library import kernel_for

#: What a process that loaded numpy first prints: its variable and the kernels of every OpenBLAS.
SCRIPT = """
import json, os
import numpy
from mmcli.index.library import faiss
from threadpoolctl import threadpool_info
loaded = [i for i in threadpool_info() if "faiss" in i["filepath"] and "architecture" in i]
print(json.dumps([os.environ.get("OPENBLAS_CORETYPE"), [i["architecture"] for i in loaded]]))
"""


@pytest.mark.parametrize(
    ("flags", "kernel"),
    [
        ("fpu sse2 avx2 fma avx512f avx512cd avx512bw avx512dq avx512vl amx_tile", "SkylakeX"),
        ("fpu sse2 avx2 fma avx512f avx512cd avx512er", "Haswell"),  # Xeon Phi
        ("fpu sse2 avx2 fma", "Haswell"),
        ("fpu sse2 avx", None),
    ],
)
def test_the_widest_the_processor_has(flags, kernel):
    info = f"processor\t: 0\nmodel name\t: avx2 fma avx512f\nflags\t\t: {flags}\nbugs\t\t:\n"
    assert kernel_for(info) == kernel


def test_what_says_nothing_of_flags_leaves_the_choice():
    assert kernel_for("processor\t: 0\nFeatures\t: fp asimd\n") is None
    assert kernel_for("") is None


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="wheels with OpenBLAS"
)
@pytest.mark.parametrize("given", [None, "Nehalem"])
def test_it_is_loaded_with_them_and_nothing_else_changes(environment, given):
    expected = given or kernel_for(Path("/proc/cpuinfo").read_text("utf-8"))
    if expected is None:
        pytest.skip("an old processor: OpenBLAS chooses")
    env = {k: v for k, v in environment.items() if k != "OPENBLAS_CORETYPE"}
    if given:
        env["OPENBLAS_CORETYPE"] = given
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True
    )
    named, kernels = json.loads(done.stdout)
    assert named == given
    assert kernels == [expected]
