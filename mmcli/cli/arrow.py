"""pyarrow without pandas, for the verbs that answer in a second.

At its first conversion pyarrow imports pandas where there is one, only to see whether it was given
a series: half of what such a verb spends on imports. It looks again when it is asked for pandas.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class _Hider(MetaPathFinder):
    """Says that there is no pandas, and nothing of any other module."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is hidden for a moment", name=name)


def spare_pandas() -> None:
    """Let pyarrow look for pandas once while it is hidden; a program's, not a library's, to do."""
    if "pandas" in sys.modules:
        return
    hider = _Hider()
    sys.meta_path.insert(0, hider)
    try:
        import pyarrow

        pyarrow.array([0])
    finally:
        sys.meta_path.remove(hider)
