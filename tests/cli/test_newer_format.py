"""Every command that reads a directory of mmcli refuses one that a newer mmcli wrote."""

import json
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.store.store_making import make_store

KINDS = ("store", "index", "aligner", "model", "predictions", "data", "export")
COMMANDS = [
    "verify store",
    "verify index",
    "verify model",
    "retrieve info index",
    "retrieve search index words",
    "retrieve index store -o out",
    "retrieve index good -o out --aligner aligner",
    "align train store -o out --between image,text",
    "align apply aligner good -o out",
    "align apply aligner store -o out",
    "align attention aligner good --id x -o out.png",
    "align compare store --between image,text",
    "fuse train store -o out --label label --method early:concat",
    "fuse apply model good -o out",
    "predict model good -o out",
    "predict model --text words",
    "merge model -o out",
    "runs model",
    "finetune --task classification store -o out --label label",
    "evaluate retrieval store --query text --target image",
    "evaluate retrieval good --query image --target text:other --aligner aligner",
    "evaluate pairs store --query text --target image -o out.parquet",
    "evaluate zeroshot store --label label",
    "evaluate predictions predictions",
    "evaluate robustness model good",
    "data split store -o out.parquet --test 0.2",
    "extract data -o out",
    "extract items.csv -o out --text model:model",
    "store import export -o out",
    "store join good store -o out",
]


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A directory of each kind whose format is one major version ahead, and a store that is not."""
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        manifest = {"format": f"mmcli.{kind}/2", "rows": 1, "method": "linear", "kind": "few-shot"}
        (tmp_path / kind / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    (tmp_path / "model/config.json").write_text("{}", "utf-8")
    make_store(tmp_path / "good")
    (tmp_path / "items.csv").write_text("id,text\na,words\n", "utf-8")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_newer_format_is_refused(run_here: Run, newer: Path, command: str) -> None:
    done = run_here(*command.split())
    assert done.returncode == 3, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2
    named = {kind: f"{kind}` was written by a newer mmcli (`mmcli.{kind}/2`)" for kind in KINDS}
    words = command.replace("model:model", "model").split()
    assert any(named[word] in lines[0] for word in words if word in named)
    assert lines[1].startswith("hint: upgrade it")
    assert not (newer / "out").exists() or not (newer / "out/manifest.json").exists()
