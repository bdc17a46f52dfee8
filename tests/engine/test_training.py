"""The training loop: it learns, goes on exactly where it was cut off, and stops when it should."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.core.errors import BadInput
from mmcli.engine.torch_stack import load_torch
from mmcli.engine.training import TrainOptions, train

torch = load_torch()


class Cut(Exception):
    """Stands for a kill."""


class Regression:
    """A noisy linear regression with dropout, so that random numbers matter."""

    plain: frozenset[str] = frozenset()
    whole_epochs = False

    def __init__(self, cut_at: int | None = None, scores: list[float] | None = None) -> None:
        torch.manual_seed(7)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(5, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1)
        )
        random = np.random.default_rng(0)
        self.x = torch.from_numpy(random.standard_normal((64, 5)).astype(np.float32))
        self.y = self.x @ torch.arange(5.0)[:, None]
        self.steps = 4
        self.done = 0
        self.cut_at = cut_at
        self.scores = scores

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        order = np.random.default_rng(epoch).permutation(64).reshape(4, 16)
        yield from order[start:]

    def step(self, batch: Any, backward: Callable[[Any], None]) -> dict[str, float]:
        if self.done == self.cut_at:
            raise Cut
        self.done += 1
        loss = (self.model(self.x[batch]) - self.y[batch]).square().mean()
        backward(loss)
        return {"loss": float(loss.detach())}

    def score(self) -> float:
        if self.scores is not None:
            return self.scores.pop(0)
        with torch.no_grad():
            return -float((self.model(self.x) - self.y).square().mean())

    def weights(self) -> list[Any]:
        return [p.detach().numpy().copy() for p in self.model.parameters()]


OPTIONS = TrainOptions(epochs=6, lr=0.05, weight_decay=0.01, ema=0.9, checkpoint_s=0.0)


@pytest.mark.parametrize("cuts", [[1], [7], [5, 6, 11], [23]])
def test_a_run_cut_off_anywhere_ends_with_the_same_weights(tmp_path: Path, cuts: list[int]) -> None:
    whole = Regression()
    expected = train(whole, OPTIONS)
    folder = tmp_path / "checkpoint"
    before = 0
    for cut in cuts:
        part = Regression(cut_at=cut - before)
        with pytest.raises(Cut):
            train(part, OPTIONS, checkpoint=folder, resume=True)
        before = cut
    last = Regression()
    found = train(last, OPTIONS, checkpoint=folder, resume=True)
    assert last.done == 24 - cuts[-1]  # nothing was done twice
    for ours, theirs in zip(last.weights(), whole.weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert found == expected


def test_it_learns_and_keeps_the_best_epoch() -> None:
    method = Regression()
    start = method.score()
    done = train(method, TrainOptions(epochs=40, lr=0.05))
    assert done.best_score > start / 10
    assert method.score() == pytest.approx(done.best_score)
    assert [record["epoch"] for record in done.history] == list(range(1, 41))
    assert done.history[-1]["lr"] == pytest.approx(0, abs=1e-9)


def test_it_stops_when_nothing_gets_better_and_goes_back_to_the_best() -> None:
    method = Regression(scores=[0.1, 0.5, 0.4, 0.3, 0.9, 0.9])
    done = train(method, TrainOptions(epochs=6, lr=0.01, patience=2))
    assert (done.best_epoch, done.best_score, done.stopped_early) == (2, 0.5, True)
    assert len(done.history) == 4


def test_without_a_score_the_last_epoch_is_kept() -> None:
    method = Regression(scores=[float("nan")] * 3)
    done = train(method, TrainOptions(epochs=3, lr=0.01, patience=1))
    assert done.best_epoch == 3 and not done.stopped_early
    assert done.history[0]["score"] is None


def test_a_loss_that_is_no_number_is_an_error_with_a_way_out() -> None:
    method = Regression()
    method.x[:] = torch.nan
    with pytest.raises(BadInput, match="loss became nan at step 1") as caught:
        train(method, OPTIONS)
    assert "--lr" in caught.value.hint


def test_checkpoints_hold_no_pickle(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        train(Regression(cut_at=5), OPTIONS, checkpoint=tmp_path / "c", resume=False)
    names = sorted(path.suffix for path in (tmp_path / "c").iterdir())
    assert names == [".json", ".safetensors"]


def test_batches_that_hang_on_the_model_go_on_between_epochs_only(tmp_path: Path) -> None:
    whole = Regression()
    whole.whole_epochs = True
    expected = train(whole, OPTIONS)
    cut = Regression(cut_at=10)
    cut.whole_epochs = True
    with pytest.raises(Cut):
        train(cut, OPTIONS, checkpoint=tmp_path / "c")
    last = Regression()
    last.whole_epochs = True
    assert train(last, OPTIONS, checkpoint=tmp_path / "c", resume=True) == expected
    assert last.done == 24 - 8  # the third epoch was begun again
    for ours, theirs in zip(last.weights(), whole.weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_score_that_is_no_number_does_not_beat_one_that_is() -> None:
    scored = Regression(scores=[0.9, 0.5, float("nan"), 0.2])
    found = train(scored, TrainOptions(epochs=4, lr=0.05))
    assert (found.best_epoch, found.best_score) == (1, 0.9)
    assert found.history[2]["score"] is None
