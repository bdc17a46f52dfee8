"""Every script of `examples/` runs, as a user would run it: by bash, with `mmcli` on the PATH."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from mmcli.workflows.demo_photographs import CAPTIONS
from tests.conftest import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.sh"))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.name)
def test_a_script_is_short_plain_bash_that_stops_at_errors(script: Path) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert len(lines) < 40
    assert os.access(script, os.X_OK)
    tests = Path(__file__).parent.glob("test_*.py")
    written = "".join(path.read_text(encoding="utf-8") for path in tests)
    assert f"def test_{script.stem}" in written


def test_search_photos(shell, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = shell("search_photos.sh")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^1 .*mmcli-demo/photos/coffee\.png", done.stdout, re.MULTILINE)
    assert (tmp_path / "photo-search" / "found.html").is_file()
    index = tmp_path / "photo-search" / "index" / "manifest.json"
    built = index.stat().st_mtime_ns
    again = shell("search_photos.sh", "mmcli-demo/photos", "a kitten")
    assert again.returncode == 0, again.stderr
    assert re.search(r"^1 .*photos/chelsea\.png", again.stdout, re.MULTILINE)
    assert index.stat().st_mtime_ns == built


def test_search_photos_stops_where_there_is_no_folder(shell) -> None:  # type: ignore[no-untyped-def]
    done = shell("search_photos.sh", "nowhere")
    assert done.returncode == 3
    assert "nowhere" in done.stderr


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_pipes(shell) -> None:  # type: ignore[no-untyped-def]
    done = shell("pipes.sh")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f'{{"items":{len(CAPTIONS)},"failed":0,')
    assert lines[1:4] == [
        "a cup of coffee -> mmcli-demo/photos/coffee.png",
        "a kitten -> mmcli-demo/photos/chelsea.png",
        "a photographer with a tripod -> mmcli-demo/photos/camera.png",
    ]
    assert lines[4] == '{"image":{"encoder":"efficientnet-lite0","dim":1280}}'


def test_pipes_says_so_where_there_is_no_jq(shell, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = shell("pipes.sh", path=str(tmp_path / "bin"))
    assert done.returncode == 0, done.stderr
    assert "jq" in done.stdout


@pytest.mark.example
def test_align_scenes(shell, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """So few scenes teach little; that it learns is tested in tests/align."""
    done = shell("align_scenes.sh", "work", "120")
    assert done.returncode == 0, done.stderr
    assert re.search(r"re-ranked +best 10 by reranker", done.stdout)
    assert len(re.findall(r"^(?:text-to-image|image-to-text) .*hit@1", done.stdout, re.M)) >= 2
    for name in ("000000a.png", "page.html"):
        assert (tmp_path / "work" / name).stat().st_size > 10_000


@pytest.mark.parametrize("script", ["tuxpaint_search", "align_stamps", "fuse_stamps", "fewshot"])
def test_a_script_says_so_where_there_is_no_apt(script, shell, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make_directory = shutil.which("mkdir")
    assert make_directory is not None
    (tmp_path / "bin" / "mkdir").symlink_to(make_directory)
    done = shell(f"{script}.sh", path=str(tmp_path / "bin"))
    assert done.returncode == 0, done.stderr
    assert "nothing done" in done.stdout


@pytest.mark.example
def test_fuse_planted(shell, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The label is known to need both modalities: the table says so, and so do its parts."""
    done = shell("fuse_planted.sh")
    assert done.returncode == 0, done.stderr
    assert re.search(r"against single:\w+: gain shown", done.stdout)
    assert re.search(r"^accuracy +0\.[89]", done.stdout, re.MULTILINE)
    assert re.search(r"^noise +image", done.stdout, re.MULTILINE)
    fused = json.loads((tmp_path / "planted" / "fused" / "manifest.json").read_text())
    assert list(fused["keys"]) == ["fused"] and fused["ok"] == 4000
