"""Cross-attention: it learns who has what, goes on exactly, and its parts do what they say."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.align.cross_attention import CrossAttention, beside_each_other, drawn, fit, in_batch_loss
from mmcli.align.fitting import AlignOptions, FitRun, Fitted
from mmcli.align.pair_model import PairModel, PairShape, Side, torch
from mmcli.align.pair_scorer import PairScorer
from mmcli.align.pair_scores import Placed, reranked_hits
from mmcli.core.errors import UsageError
from mmcli.engine.sequences import grid_side, padded, shortened
from mmcli.store.mapped_sequences import MappedSequences
from mmcli.store.reader import Store
from mmcli.workflows.align.data import DataConfig, load_data
from mmcli.workflows.align.train import TrainConfig, train
from tests.align.bound_pairs import bound_pairs

SMALL = AlignOptions(hidden=32, dim=16, layers=1, heads=2, epochs=11, batch=16, lr=6e-3, dropout=0)
FEW = AlignOptions(hidden=16, dim=8, layers=1, heads=2, epochs=2, batch=16)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bound_pairs(tmp_path_factory.mktemp("bound") / "store")


def features(store: Path, between: tuple[str, ...] = ("text", "image")) -> Any:
    return load_data(Store.open(store), DataConfig(between), sequence=True)


def right_of_two(scorer: PairScorer, store: Path, query: str, target: str) -> float:
    """How often a test row's own target scores higher than its partner's."""
    opened = Store.open(store)
    rows = np.flatnonzero(np.array(opened.items(["split"])["split"].to_pylist()) == "test")
    queries = MappedSequences(opened, scorer.key(query)).take(rows)
    targets = MappedSequences(opened, scorer.key(target))
    own = scorer.score(query, queries, targets.take(rows))
    partner = scorer.score(query, queries, targets.take(rows ^ 1))
    return float((own > partner).mean())


def test_it_tells_partners_apart_that_pooled_vectors_cannot(store: Path, tmp_path: Path) -> None:
    """The best possible is 1; whoever sees pooled vectors only is at chance, 0.5."""
    report = train(TrainConfig(str(store), str(tmp_path / "a"), DataConfig(("text", "image")),
                               "cross-attention", SMALL))  # fmt: skip
    scorer = PairScorer.open(tmp_path / "a")
    assert right_of_two(scorer, store, "text", "image") >= 0.95
    assert right_of_two(scorer, store, "image", "text") >= 0.95
    assert report["test"]["text-to-image"]["queries"] == 80
    losses = [json.loads(line) for line in (tmp_path / "a" / "history.jsonl").open()]
    assert losses[-1]["matching"] < 0.3 < losses[0]["matching"]


def test_either_order_of_the_modalities_learns(store: Path) -> None:
    data = features(store, ("image", "text"))
    fitted = fit(data.features, replace(SMALL, epochs=7), FitRun())
    assert fitted.score(data.features, data.test)["image-to-text"]["hit@1"] > 0.6
    assert set(fitted.val) == {"image-to-text", "text-to-image"}


def test_equal_seeds_give_equal_weights_and_a_run_that_was_cut_off_goes_on_exactly(
    store: Path, tmp_path: Path
) -> None:
    class Cut(Exception):
        pass

    def cut(done: int, total: int) -> None:
        if done == 20:  # in the middle of the second epoch
            raise Cut

    data = features(store).features
    whole = fit(data, FEW, FitRun(seed=3))
    where = {"seed": 3, "checkpoint": tmp_path / "c", "checkpoint_s": 0.0}
    with pytest.raises(Cut):
        fit(data, FEW, FitRun(**where, progress=cut))
    again = fit(data, FEW, FitRun(**where, resume=True))
    assert whole.history == again.history
    other = fit(data, FEW, FitRun(seed=4))
    for name, array in weights(whole).items():
        np.testing.assert_array_equal(array, weights(again)[name], err_msg=name)
    assert not np.array_equal(weights(whole)["log_scale"], weights(other)["log_scale"])


def weights(fitted: Fitted) -> dict[str, Any]:
    assert fitted.arrays is not None
    return dict(fitted.arrays)


def test_a_gradient_reaches_every_parameter_and_no_statistic(store: Path) -> None:
    torch.manual_seed(0)
    method = CrossAttention(features(store).features, SMALL, FitRun())
    for head in method.model.heads:  # zero at first, which stops what is behind it for one step
        torch.nn.init.normal_(head.weight)
    batch = next(iter(method.batches(0, 0)))
    method.step(batch, lambda loss: loss.backward())
    for name, parameter in method.model.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert reached, name
    assert not any(buffer.requires_grad for buffer in method.model.buffers())


def test_rows_of_one_group_are_never_drawn_as_wrong() -> None:
    groups = torch.tensor([0, 0, 1, 2])
    alike = groups[:, None] == groups[None]
    for _ in range(30):
        rows, columns, others = drawn(torch.randn(4, 4), alike)
        assert rows.tolist() == [0, 1, 2, 3]
        assert not alike[rows, columns].any() and not alike[others, rows].any()
    rows, columns, others = drawn(torch.randn(2, 2), torch.ones(2, 2, dtype=torch.bool))
    assert len(rows) == len(columns) == len(others) == 0


def test_the_hardest_wrong_partner_is_drawn_most_often() -> None:
    scores = torch.tensor([[0.0, 3.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    alike = torch.eye(3, dtype=torch.bool)
    first = [int(drawn(scores, alike)[1][0]) for _ in range(400)]
    expected = np.exp(3) / (np.exp(3) + 1)
    assert np.mean(np.array(first) == 1) == pytest.approx(expected, abs=0.05)


def test_the_contrastive_loss_is_that_of_the_definition() -> None:
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.5, 1.5, -1.0], [0.0, 0.3, 1.0]])
    groups = [0, 0, 1]
    p = scores.double().numpy()
    total = 0.0
    for matrix in (p, p.T):
        for i, row in enumerate(matrix):
            same = [j for j in range(3) if groups[j] == groups[i]]
            total -= np.mean([row[j] - np.log(np.exp(row).sum()) for j in same])
    alike = torch.tensor(groups)[:, None] == torch.tensor(groups)[None]
    assert float(in_batch_loss(scores, alike)) == pytest.approx(total / 6, abs=1e-6)


def test_neighbours_stand_behind_each_other_and_every_row_once() -> None:
    near = np.array([[3, 1], [0, 2], [0, 1], [0, 2]])
    assert beside_each_other(near, 1, np.array([2, 0, 1, 3])).tolist() == [2, 0, 1, 3]
    assert beside_each_other(near, 1, np.array([0, 1, 2, 3])).tolist() == [0, 3, 1, 2]
    assert beside_each_other(near, 2, np.array([1, 3, 0, 2])).tolist() == [1, 0, 2, 3]


def test_partners_meet_in_a_batch(store: Path) -> None:
    method = CrossAttention(features(store).features, FEW, FitRun())
    order = method._order(0)
    assert sorted(order.tolist()) == sorted(method.rows.tolist())
    assert order.tolist() != method._order(1).tolist()
    together = sum(a ^ 1 == b for a, b in pairwise(order.tolist()))
    assert together > 0.15 * len(order)  # of at most a half; by chance 1 in 240 rows


def test_three_modalities_and_odd_heads_are_refused(store: Path) -> None:
    data = features(store).features
    with pytest.raises(UsageError, match="3 modalities"):
        three = {**data.parts, "speech": data.parts["text"]}
        CrossAttention(type(data)(**{**vars(data), "parts": three}), FEW, FitRun())
    with pytest.raises(UsageError, match="--heads 3"):
        CrossAttention(data, replace(FEW, heads=3), FitRun())


def test_late_similarity_is_the_mean_of_best_matches_whatever_the_padding() -> None:
    torch.manual_seed(0)
    sides = (Side("text", "text", 3, 5), Side("speech", "speech", 4, 6))
    model = PairModel(PairShape(sides, width=8, dim=4, layers=1, heads=2)).eval()
    random = np.random.default_rng(0)
    texts = [random.standard_normal((n, 3)).astype(np.float32) for n in (2, 5, 1)]
    speech = [random.standard_normal((n, 4)).astype(np.float32) for n in (6, 3)]
    placed = Placed(model)
    x, y = placed.read(0, texts), placed.read(1, speech)
    found = placed.late(x, y)
    for i, text in enumerate(texts):
        for j, frames in enumerate(speech):
            with torch.no_grad():
                u = model.readers[0].tokens(placed.read(0, [text])[0])[0].numpy()
                v = model.readers[1].tokens(placed.read(1, [frames])[0])[0].numpy()
            s = u @ v.T
            expected = (s.max(1).mean() + s.max(0).mean()) / 2
            assert found[i, j] == pytest.approx(expected, abs=1e-5)


def test_similarities_in_chunks_are_those_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    sides = (Side("text", "text", 3, 5), Side("speech", "speech", 4, 6))
    model = PairModel(PairShape(sides, width=8, dim=4, layers=0, heads=2))
    x, y = torch.randn(7, 5, 8, requires_grad=True), torch.randn(6, 4, 8)
    real_x, real_y = torch.ones(7, 5, dtype=torch.bool), torch.ones(6, 4, dtype=torch.bool)
    whole = model.late(x, real_x, y, real_y)
    (gradient,) = torch.autograd.grad(whole.square().sum(), x)
    monkeypatch.setattr("mmcli.align.pair_model.CHUNK_SIMILARITIES", 2 * 5 * 6 * 4)
    parts = model.late(x, real_x, y, real_y)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts.square().sum(), x)[0], gradient)


def test_hits_after_re_ranking_are_those_of_the_new_order() -> None:
    """Two candidates of three are put in order: the third stays behind, whatever it would score."""

    class Fixed(Placed):
        def late(self, x: Any, y: Any) -> Any:
            return np.array([[0.3, 0.2, 0.1], [0.9, 0.5, 0.8], [0.1, 0.3, 0.2]], np.float32)

        def match(self, x: Any, y: Any, first: Any, second: Any, progress: Any = None) -> Any:
            table = np.array([[5.0, -1, 9], [7, 0, 6], [9, 1, 2]], np.float32)
            return table[first, second]

    sides = (Side("a", "a", 2, 1), Side("b", "b", 2, 1))
    placed = Fixed(PairModel(PairShape(sides, 8, 4, 0, 2)))
    own = np.arange(3)
    forth, back = reranked_hits(placed, (), (), (own, own), (1, 2), depth=2)
    # queries 0: 5 before -1; 1: its own is third, not looked at; 2: 2 before 1
    assert forth.hits == {1: pytest.approx(2 / 3), 2: pytest.approx(2 / 3)}
    # targets' columns 0: best by late are 1 (7), 0 (5); 1: 1 (0) and 2 (1); 2: 1 (6), 2 (2)
    assert back.hits == {1: 0.0, 2: 1.0} and back.queries == 3


def test_sequences_are_shortened_by_means_and_padded_with_a_mask() -> None:
    line = np.arange(10, dtype=np.float32)[:, None]
    assert shortened(line, False, 10) is line
    assert shortened(line, False, 5)[:, 0].tolist() == [0.5, 2.5, 4.5, 6.5, 8.5]
    grid = np.arange(16, dtype=np.float32)[:, None]  # rows of four
    assert shortened(grid, True, 4)[:, 0].tolist() == [2.5, 4.5, 10.5, 12.5]
    values, real = padded([line[:2], line[:0], line[:3]], 1)
    assert real.tolist() == [[True, True, False], [True, False, False], [True] * 3]
    assert values[..., 0].tolist() == [[0, 1, 0], [0, 0, 0], [0, 1, 2]]
    assert [grid_side(n) for n in ([49, 49, 0], [49, 36], [1], [50], [])] == [7, 0, 0, 0, 0]
