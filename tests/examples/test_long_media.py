"""`examples/long_media.sh` finds what is said in a recording, and what is shown in a film."""

import re
from pathlib import Path

import pytest

from tests.long_media import PHRASE, photographs, talk, tour


@pytest.mark.example
def test_long_media(shell, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    said = talk(tmp_path / "media" / "talk.ogg", 24, 10)
    shown = tour(tmp_path / "media" / "tour.mp4", photographs()[3:6], 10.0, rate=5, codec="libx264")
    done = shell("long_media.sh", "media", PHRASE)
    assert done.returncode == 0, done.stderr
    best = re.search(r"^1 +\S+ +talk#\d+ +([\d.]+) +([\d.]+) ", done.stdout, re.MULTILINE)
    assert best is not None, done.stdout
    overlap = said.overlap_s(float(best[1]), float(best[2]))
    assert overlap > 0.5 * (said.end_s - said.start_s)
    done = shell("long_media.sh", "media", "a cup of coffee")
    assert done.returncode == 0, done.stderr
    best = re.search(r"^1 +\S+ +tour#\d+ +([\d.]+) +([\d.]+) ", done.stdout, re.MULTILINE)
    assert best is not None, done.stdout
    assert shown["coffee.png"].overlap_s(float(best[1]), float(best[2])) >= 5
