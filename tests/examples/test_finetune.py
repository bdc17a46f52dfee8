"""The scripts of `examples/` that train on made data, on little of it."""

import re
from pathlib import Path

import pytest


@pytest.mark.example
def test_sentiment(shell, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """So few clips teach little; what more of them teach is measured by `tests.bench`."""
    done = shell("sentiment.sh", "work", "60")
    assert done.returncode == 0, done.stderr
    for name in ("single:text", "single:speech", "single:image", "hybrid:attention"):
        assert re.search(rf"^{name} ", done.stdout, re.MULTILINE)
    assert re.search(r"acc2_non0", done.stdout)
    assert re.search(r"^prediction +-?\d", done.stdout, re.MULTILINE)
    assert (tmp_path / "work" / "model" / "report.html").stat().st_size > 10_000


@pytest.mark.example
def test_events(shell, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = shell("events.sh", "work", "60", "16")
    assert done.returncode == 0, done.stderr
    assert re.search(r"macro_f1", done.stdout)
    assert (tmp_path / "work" / "found" / "events.parquet").is_file()
