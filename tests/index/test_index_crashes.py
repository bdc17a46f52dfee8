"""`kill -9` during a change: the index holds the old state or the new one, and opens."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mmcli.index.layout import open_index, own_entries
from mmcli.index.living import n_removed, open_items, open_vectors, total_rows
from mmcli.index.search import search
from mmcli.store.verification import verify_directory
from mmcli.workflows.index.add import AddConfig, add_rows
from mmcli.workflows.index.build import build_index
from mmcli.workflows.index.config import IndexConfig
from mmcli.workflows.index.remove import RemoveConfig, remove_rows
from tests.conftest import mmcli_command
from tests.index.living_stores import clustered, names, write_store

N, MORE = 3000, 30


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("crashes")
    write_store(root / "first", clustered(N), names(N))
    write_store(root / "more", clustered(MORE, seed=1), names(MORE, "b"))
    build_index(IndexConfig(str(root / "first"), str(root / "index"), factory="IVF16,SQ8"))
    return root


@pytest.mark.parametrize("verb", ["add", "remove", "compact"])
def test_a_kill_leaves_the_old_state_or_the_new_one(
    made: Path, tmp_path: Path, environment: dict[str, str], verb: str
) -> None:
    index = tmp_path / "index"
    words = {
        "add": ("add", index, made / "more", "-q"),
        "remove": ("remove", index, "--where", "label = 'cat'", "-q"),
        "compact": ("remove", index, "--where", "label = 'cat'", "--compact", "-q"),
    }[verb]
    command = mmcli_command("retrieve", *words)
    shutil.copytree(made / "index", index)
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True)
    duration = time.perf_counter() - began
    new = total_rows(open_index(index)) - n_removed(open_index(index))
    assert new != N
    rng = random.Random(verb)
    for _ in range(3):
        shutil.rmtree(index)
        shutil.copytree(made / "index", index)
        process = subprocess.Popen(command, env=environment)
        time.sleep(rng.uniform(0.6, 1.0) * duration)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        manifest = open_index(index)
        assert total_rows(manifest) - n_removed(manifest) in (N, new)
        assert verify_directory(index).problems == []
        hits = search(open_vectors(index, manifest), clustered(2, seed=3), 10, "cosine")
        assert [len(hit.rows) for hit in hits] == [10, 10]
        open_items(index, manifest)


def test_what_a_killed_change_left_is_cleared_by_the_next(made: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    shutil.copytree(made / "index", index)
    for name in ("index.g1.faiss", "items.g1.parquet", ".tmp-removed.g2.npy", "state.json"):
        (index / name).write_bytes(b"half")
    (index / "keywords.g1").mkdir()
    (index / "notes.txt").write_text("mine", "utf-8")
    assert open_index(index)["index"] == "index.faiss"
    add_rows(AddConfig(str(index), str(made / "more")))
    remove_rows(RemoveConfig(str(index), ("b000000",)))
    manifest = open_index(index)
    named = {name.split("/")[0] for name in manifest["files"]}
    assert {entry.name for entry in own_entries(index)} == named
    assert not list(index.glob(".tmp-*")) and not (index / "state.json").exists()
    assert (index / "notes.txt").exists()
    assert verify_directory(index).problems == []
