"""Attention maps: the weights of a look, light where the weight is, refusals."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from mmcli.align.fitting import AlignOptions
from mmcli.align.pair_scorer import PairScorer
from mmcli.report.attention_maps import BAND, CELL, GAP, write_sheet
from mmcli.store.mapped_sequences import MappedSequences
from mmcli.store.reader import Store
from mmcli.store.writer import KeyArrays, StoreWriter
from mmcli.workflows.align.data import DataConfig
from mmcli.workflows.align.train import TrainConfig, train
from tests.align.bound_pairs import bound_pairs
from tests.conftest import Run

FEW = AlignOptions(hidden=16, dim=8, layers=2, heads=2, epochs=1, batch=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one picture file for all, and an aligner of each order of the modalities."""
    folder = tmp_path_factory.mktemp("attention")
    bound_pairs(folder / "plain", 40)
    Image.new("RGB", (60, 40), (200, 100, 50)).save(folder / "picture.png")
    plain = Store.open(folder / "plain")
    arrays = {
        key: KeyArrays(plain.load(key), *next(plain.iter_sequences(key))[1:]) for key in plain.keys
    }
    picture = pa.array([str(folder / "picture.png")] * plain.rows)
    items = plain.items().append_column("image", picture)
    with StoreWriter(folder / "store", plain.keys, {"spec": "bound"}, {}, "f") as writer:
        writer.write_shard(0, 0, items, arrays, counts=(plain.rows, 0, 0))
        writer.commit({"mmcli": "0.1.0"})
    for name, between in (("a", ("text", "image")), ("b", ("image", "text"))):
        train(TrainConfig(str(folder / "store"), str(folder / name), DataConfig(between),
                          "cross-attention", FEW))  # fmt: skip
    return folder


def test_the_weights_of_a_look_sum_to_one_each_way(folder: Path) -> None:
    scorer = PairScorer.open(folder / "a")
    store = Store.open(folder / "store")
    (text,), (image,) = (MappedSequences(store, key).take([3]) for key in ("text", "image"))
    layers = scorer.attention(text, image)
    assert len(layers) == 2
    for forth, back in layers:
        assert forth.shape == (2, len(text), 4) and back.shape == (2, 4, len(text))
        np.testing.assert_allclose(forth.sum(-1), 1, atol=1e-5)
        np.testing.assert_allclose(back.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("aligner", ["a", "b"])
def test_the_command_draws_what_the_scorer_says(
    run_here: Run, folder: Path, tmp_path: Path, aligner: str
) -> None:
    words = ("align", "attention", folder / aligner, folder / "store", "--id", "0003")
    done = run_here(*words, "-o", "sheet.png", "--layer", "1", "--head", "2", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    store = Store.open(folder / "store")
    (text,), (image,) = (MappedSequences(store, key).take([3]) for key in ("text", "image"))
    scorer = PairScorer.open(folder / aligner)
    pair, number = ((text, image), 0) if aligner == "a" else ((image, text), 1)
    weights = scorer.attention(*pair)[0][number][1]
    assert [w["word"] for w in report["words"]] == [str(i + 1) for i in range(len(text))]
    found = [2 * (w["row"] - 1) + w["column"] - 1 for w in report["words"]]
    assert found == weights.argmax(1).tolist()
    assert report["score"] == pytest.approx(float(scorer.score("text", [text], [image])[0]))
    assert Image.open(tmp_path / "sheet.png").format == "PNG"
    assert run_here(*words, "-o", "sheet.png").returncode == 3  # it is there already


def test_layer_0_is_the_likeness_that_the_score_starts_from(
    run_here: Run, folder: Path, tmp_path: Path
) -> None:
    store = Store.open(folder / "store")
    (text,), (image,) = (MappedSequences(store, key).take([3]) for key in ("text", "image"))
    scorer = PairScorer.open(folder / "a")
    found = scorer.likeness(text, image)
    assert found.shape == (len(text), 4) and np.abs(found).max() <= 1 + 1e-6
    x, y = scorer.placed.read(0, [text]), scorer.placed.read(1, [image])
    late = (found.max(1).mean() + found.max(0).mean()) / 2
    assert float(scorer.placed.late(x, y)[0, 0]) == pytest.approx(float(late), abs=1e-6)
    words = ("align", "attention", folder / "b", folder / "store", "--id", "0003", "-o", "s.png")
    report = json.loads(run_here(*words, "--json").stdout)
    turned = PairScorer.open(folder / "b").likeness(image, text).T
    np.testing.assert_allclose([w["weight"] for w in report["words"]], turned.max(1), atol=1e-6)


def test_refusals_are_one_line_with_a_hint(run_here: Run, folder: Path) -> None:
    words = ("align", "attention", folder / "a", folder / "store", "-o", "sheet.png")
    for more, code, message in (
        (("--id", "nobody"), 3, "no item `nobody`"),
        (("--id", "0003", "--layer", "3"), 2, "there are 2"),
        (("--id", "0003", "--layer", "1", "--head", "0"), 2, "there are 2"),
        (("--id", "0003", "--head", "1"), 2, "layer 0 has none"),
    ):
        done = run_here(*words, *more)
        assert done.returncode == code and message in done.stderr, done.stderr
        assert "hint:" in done.stderr
    plain = ("align", "attention", folder / "a", folder / "plain", "-o", "s.png", "--id", "0003")
    done = run_here(*plain)
    assert done.returncode == 3 and "no column `image`" in done.stderr


def test_the_light_is_where_the_weight_is(tmp_path: Path) -> None:
    pixels = np.full((32, 32, 3), 200, np.uint8)
    maps = np.zeros((2, 2, 2), np.float32)
    maps[0, 0, 1], maps[1] = 0.7, 0.25  # upper right; everywhere alike
    write_sheet(tmp_path / "s.png", pixels, ["up", "any"], maps, columns=3)
    sheet = np.asarray(Image.open(tmp_path / "s.png").convert("L"), np.float64)
    top = GAP + BAND
    cells = [sheet[top : top + CELL, GAP + i * (CELL + GAP) :][:, :CELL] for i in range(3)]
    quarter = CELL // 4
    corners = {
        (row, column): cells[1][row : row + quarter, column : column + quarter].mean()
        for row in (0, CELL - quarter)
        for column in (0, CELL - quarter)
    }
    assert max(corners, key=lambda place: corners[place]) == (0, CELL - quarter)
    assert corners[0, CELL - quarter] > 3 * corners[CELL - quarter, 0]
    assert cells[0].min() == cells[2].min() == 200
