"""Cheap commands and models in the process of the tests; folders import it in `conftest.py`.

Pretrained models stay in memory from test to test: loading a package's weights again gives the same
model. The first is the real thing, and `tests/contracts/` shows that loading works.
"""

import io
import sys
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess
from typing import Any

import pytest

from mmcli.encoders import registry
from tests.conftest import Run

_models: dict[str, Any] = {}


@pytest.fixture(autouse=True, scope="module")
def kept_models() -> Iterator[None]:
    """For the tests of one module: elsewhere models are loaded as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "load_attribute", _keeping(registry.load_attribute))
        yield


def _keeping(load_attribute: Callable[..., Any]) -> Callable[..., Any]:
    def attribute(path: str, requires: str = "") -> Any:
        loader = load_attribute(path, requires)

        def load(resolved: Any, options: Any, placement: Any) -> Any:
            if resolved.scheme != "package":
                return loader(resolved, options, placement)
            asked = repr((path, resolved, options, placement))
            if asked not in _models:
                _models[asked] = loader(resolved, options, placement)
            return _models[asked]

        return load

    return attribute


@pytest.fixture
def run_here(run_here: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run_here` as everywhere, also with something on its standard input."""

    def command(*words: object, stdin: str | bytes = b"") -> CompletedProcess[str]:
        data = stdin.encode("utf-8", "surrogateescape") if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
        return run_here(*words)

    return command
