"""Cheap commands and models in the process of the tests; folders import it in `conftest.py`.

Pretrained models stay in memory from test to test, and their text towers are exported once: loading
a package's weights again gives the same model, exporting it again the same graph. The first of each
is the real thing, and `tests/contracts/` shows that loading and exporting work.
"""

import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from mmcli.encoders import export, registry
from tests.conftest import Run

_models: dict[str, Any] = {}
_towers: dict[int, tuple["tempfile.TemporaryDirectory[str]", str]] = {}


@pytest.fixture(autouse=True, scope="module")
def kept_models() -> Iterator[None]:
    """For the tests of one module: elsewhere models are loaded as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "load_attribute", _keeping(registry.load_attribute))
        patch.setattr(export, "export_text", _exporting_once(export.export_text))
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


def _exporting_once(export_text: Callable[..., str]) -> Callable[..., str]:
    def export(encoder: Any, directory: Path, after: Any = None) -> str:
        if after or not any(encoder is model for model in _models.values()):
            return export_text(encoder, directory, after)
        if id(encoder) not in _towers:
            folder = tempfile.TemporaryDirectory(prefix="mmcli-towers-")
            _towers[id(encoder)] = folder, export_text(encoder, Path(folder.name))
        folder, reason = _towers[id(encoder)]
        shutil.copytree(folder.name, directory, dirs_exist_ok=True)
        return reason

    return export


@pytest.fixture
def run_here(run_here: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run_here` as everywhere, also with something on its standard input."""

    def command(*words: object, stdin: str | bytes = b"") -> CompletedProcess[str]:
        data = stdin.encode("utf-8", "surrogateescape") if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
        return run_here(*words)

    return command
