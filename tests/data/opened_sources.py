"""Sources opened as a run would, and all they hold."""

from pathlib import Path
from typing import Any

from mmcli.data.source import Source, SourceOptions, open_source


def opened(spec: object, tmp_path: Path, **options: Any) -> Source:
    """The source; what it spools goes below `tmp_path`."""
    return open_source(SourceOptions(str(spec), **options), tmp_path / "spool")


def items(source: Source) -> list[dict[str, Any]]:
    """Every row."""
    return source.rows(0, source.n_items).to_pylist()
