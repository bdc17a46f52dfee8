"""A pair scorer on the disk: equal scores whatever the batch, and refusals that name both sides."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmcli.align.aligner import Aligner
from mmcli.align.fitting import AlignOptions, FitRun
from mmcli.align.pair_scorer import PairScorer
from mmcli.align.pair_scores import Placed
from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.store.mapped_sequences import MappedSequences
from mmcli.store.reader import Store
from mmcli.workflows.align.data import DataConfig, load_data
from mmcli.workflows.align.train import TrainConfig, train
from tests.align.bound_pairs import bound_pairs
from tests.align.making import planted

FEW = AlignOptions(hidden=16, dim=8, layers=1, heads=2, epochs=2, batch=16)
BETWEEN = DataConfig(("text", "image"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scorer")
    bound_pairs(folder / "store", 60, absent=7)
    train(TrainConfig(str(folder / "store"), str(folder / "a"), BETWEEN, "cross-attention", FEW))
    return folder


def rows_of(folder: Path, key: str, rows: np.ndarray) -> list[np.ndarray]:
    return MappedSequences(Store.open(folder / "store"), key).take(rows)


def test_what_is_opened_scores_as_what_was_trained(folder: Path) -> None:
    from mmcli.align.cross_attention import CrossAttention

    data = load_data(Store.open(folder / "store"), BETWEEN, sequence=True)
    method = CrossAttention(data.features, FEW, FitRun())
    scorer = PairScorer.open(folder / "a")
    method.model.load_state_dict(scorer.placed.model.state_dict())
    rows = np.arange(10, 60)
    texts, images = rows_of(folder, "text", rows), rows_of(folder, "image", rows)
    trained = Placed(method.model.eval())
    own = np.arange(len(rows))
    expected = trained.match(trained.read(0, texts), trained.read(1, images), own, own)
    found = scorer.score("text", texts, images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    turned = scorer.score("image", images, texts)
    np.testing.assert_allclose(turned, found, atol=1e-6)


def test_a_pair_scores_the_same_alone_in_a_crowd_and_given_twice(folder: Path) -> None:
    scorer = PairScorer.open(folder / "a")
    rows = np.random.default_rng(0).integers(10, 120, (2, 150))
    texts, images = rows_of(folder, "text", rows[0]), rows_of(folder, "image", rows[1])
    together = scorer.score("text", texts, images)
    alone = [scorer.score("text", [t], [i])[0] for t, i in zip(texts, images, strict=True)]
    np.testing.assert_allclose(together, alone, atol=2e-6)
    same = scorer.score("text", [texts[0]] * 5, images[:5])
    each = scorer.score("text", [texts[0].copy() for _ in range(5)], images[:5])
    np.testing.assert_allclose(same, each, atol=2e-6)
    assert scorer.score("text", [], []).shape == (0,)


def test_a_row_without_its_part_is_left_out_and_an_empty_sequence_still_scores(
    folder: Path,
) -> None:
    metrics = json.loads((folder / "a" / "metrics.json").read_text())
    assert metrics["rows"]["train"] > metrics["rows"]["train_with_text_and_image"]
    scorer = PairScorer.open(folder / "a")
    text, image = rows_of(folder, "text", np.array([0, 20])), rows_of(folder, "image", [0, 20])
    assert len(image[0]) == 0
    with pytest.raises(BadInput, match="of 1 patches"):
        scorer.score("text", text[:1], image[:1])
    assert np.isfinite(scorer.score("text", [text[0][:0]], image[1:])).all()


def test_it_says_what_it_reads_and_refuses_other_stores(folder: Path, tmp_path: Path) -> None:
    scorer = PairScorer.open(folder / "a")
    assert scorer.modalities == ("text", "image")
    assert scorer.key("image") == "image" and scorer.path == folder / "a"
    scorer.check(Store.open(folder / "store"))
    pooled = Store.open(bound_pairs(tmp_path / "pooled", 20, sequence=False))
    with pytest.raises(SpaceMismatch, match="has no sequences"):
        scorer.check(pooled)
    other = Store.open(planted(tmp_path / "other", 40))
    with pytest.raises(SpaceMismatch, match=r"trained on dim `12`.* has `16`"):
        scorer.check(other)
    with pytest.raises(UsageError, match="does not know speech"):
        scorer.key("speech")
    with pytest.raises(BadInput, match="width of 12"):
        scorer.score("text", [np.zeros((3, 5), np.float32)], [np.zeros((4, 20), np.float32)])


def test_aligners_of_vectors_and_of_pairs_are_not_taken_for_each_other(
    folder: Path, tmp_path: Path
) -> None:
    train(TrainConfig(str(folder / "store"), str(tmp_path / "linear"), BETWEEN))
    with pytest.raises(UsageError, match="maps vectors") as found:
        PairScorer.open(tmp_path / "linear")
    assert found.value.hint and "--aligner" in found.value.hint
    with pytest.raises(UsageError, match="scores pairs") as found:
        Aligner.open(folder / "a")
    assert found.value.hint and "--rerank" in found.value.hint


def test_damage_is_found(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder / "a", tmp_path / "a")
    model = tmp_path / "a" / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-3] ^= 1
    model.write_bytes(content)
    with pytest.raises(BadInput, match=r"model\.safetensors"):
        PairScorer.open(tmp_path / "a")
