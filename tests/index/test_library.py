"""FAISS's matrix kernels: the best that the processor has, unless the user names some."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmcli.index import library
from mmcli.index.library import kernel_for
from tests.conftest import ROOT

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


def test_the_variable_is_there_while_a_library_is_loaded(monkeypatch, tmp_path):
    """Under another name: what this machine says of OpenBLAS is left alone."""
    monkeypatch.setattr(library, "_VARIABLE", "MMCLI_TEST_KERNEL")
    info = tmp_path / "cpuinfo"
    info.write_text("flags\t\t: avx2 fma\n", "utf-8")
    for path, given, loaded in (
        (info, None, "Haswell"),
        (info, "Nehalem", "Nehalem"),
        (tmp_path / "no-linux", None, None),
    ):
        monkeypatch.delenv("MMCLI_TEST_KERNEL", raising=False)
        if given:
            monkeypatch.setenv("MMCLI_TEST_KERNEL", given)
        with pytest.raises(ZeroDivisionError), library._named_kernel(path):
            assert os.environ.get("MMCLI_TEST_KERNEL") == loaded
            raise ZeroDivisionError
        assert os.environ.get("MMCLI_TEST_KERNEL") == given


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="wheels with OpenBLAS"
)
def test_faiss_runs_on_them(environment):
    given = environment.get("OPENBLAS_CORETYPE")
    expected = given or kernel_for(Path("/proc/cpuinfo").read_text("utf-8"))
    if expected is None:
        pytest.skip("an old processor: OpenBLAS chooses")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    named, kernels = json.loads(done.stdout)
    assert named == given
    assert kernels == [expected]


def test_nothing_else_imports_faiss():
    """Whoever comes first decides for the whole process."""
    files = (ROOT / "mmcli").rglob("*.py")
    importing = [
        f for f in files if re.search(r"^ *(import|from) faiss", f.read_text("utf-8"), re.M)
    ]
    assert importing == [Path(library.__file__)]
