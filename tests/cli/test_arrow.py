"""Verbs that answer in a second do not import pandas, and nothing else notices."""

import subprocess
import sys

PROGRAM = """
import sys
from mmcli.cli.arrow import spare_pandas
spare_pandas()
import pyarrow, pyarrow.compute
pyarrow.compute.equal(pyarrow.array(["a"]), "a").to_numpy(zero_copy_only=False)
assert "pandas" not in sys.modules
frame = pyarrow.table({"a": [1, None]}).to_pandas()
assert frame["a"].isna().tolist() == [False, True]
assert pyarrow.array(frame["a"]).null_count == 1
"""


def test_pyarrow_finds_pandas_when_it_is_asked_for() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
