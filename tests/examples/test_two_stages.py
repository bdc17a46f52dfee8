"""Captioned scenes first, then fifty labels, small: the commands, and what each stage read."""

import json
import re
from pathlib import Path

import pytest


@pytest.mark.example
def test_two_stages(shell, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """So few pairs teach little; what a first stage is worth is in tests/bench/two_stages.py."""
    done = shell("two_stages.sh", "work", "240", "1")
    assert done.returncode == 0, done.stderr
    first = json.loads((tmp_path / "work/first/metrics.json").read_text("utf-8"))
    before, _, after = first["table"]
    assert (before["model"], after["model"]) == ("untrained", "pretrain")
    assert after["hit@1"] > before["hit@1"] + 0.1
    assert first["worth"]["restored text"] > 0.2
    found = dict(re.findall(r"^models/1-(\w+) .* accuracy +(0\.\d+) ", done.stdout, re.M))
    assert set(found) == {"alone", "staged"}
    config = json.loads((tmp_path / "work/models/1-staged/config.json").read_text("utf-8"))
    keys = config["keys"]["image"]
    assert list(keys) == ["image", "image:conse-efficientnet-lite0", "image:efficientnet-lite0"]
    assert keys["image"]["space"] == first["space"]
    assert config["run"]["pretrained"] == "first"
    assert float(found["staged"]) > 0.45  # 0.39 of the scenes have the commonest layout
