"""Timed events: features on a grid, the network, from probabilities to events, and learning."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.data.streams.recordings import Recording, TimedEvent
from mmcli.engine.torch_stack import load_torch
from mmcli.engine.training import TrainOptions, train
from mmcli.metrics.detection import Events, average_precisions, rank_events
from mmcli.store.reader import Store
from mmcli.tasks.streams_decode import (
    Rule,
    choose_rules,
    decode_all,
    filtered,
    kept,
    rules_from_json,
    rules_to_json,
    segments,
)
from mmcli.tasks.streams_scores import Said, chance, compared, summarised
from mmcli.tasks.streams_tracks import (
    AbsentTrack,
    PictureTrack,
    Shown,
    SoundTrack,
    pooled,
    statistics,
    steps_of,
)
from tests.fusion.making import write_store

torch = load_torch()

from mmcli.tasks.streams import StreamData, StreamMethod, probabilities  # noqa: E402
from mmcli.tasks.streams_network import (  # noqa: E402
    StreamBlueprint,
    StreamNetwork,
    build,
    frame_loss,
)

HZ = 10.0


# -- the grid --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "steps"), [(1.0, 10), (1.04, 11), (0.01, 1), (0.3, 3)])
def test_how_many_steps(seconds: float, steps: int) -> None:
    assert steps_of(seconds, HZ) == steps


def test_faster_features_are_averaged_and_slower_ones_stay() -> None:
    fast = np.arange(40, dtype=np.float32)[:, None]  # four in each of ten steps
    assert pooled(fast, 1.0, 10, HZ)[:, 0].tolist() == [1.5 + 4 * k for k in range(10)]
    slow = np.array([[1.0], [2.0]], np.float32)  # middles at 0.25 and 0.75 s
    assert pooled(slow, 1.0, 10, HZ)[:, 0].tolist() == [1.0] * 5 + [2.0] * 5
    odd = np.ones((7, 3), np.float32)
    assert (pooled(odd, 1.3, 13, HZ) == 1).all()


def test_tracks_of_a_store(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sounds = [rng.standard_normal((n, 3)).astype(np.float32) for n in (100, 50, 20)]
    store = write_store(
        tmp_path / "sound",
        {"speech": np.ones((3, 4), np.float32)},
        {"n": [1, 2, 3]},
        present={"speech": np.array([True, True, False])},
        sequences={"speech": sounds},
    )
    track = SoundTrack(Store.open(store), ["speech"], {4: 1.0, 5: 0.5, 7: 0.2}, HZ)
    values, index = track.take(4, 10)
    np.testing.assert_allclose(values, sounds[0].reshape(10, 10, 3).mean(1), atol=1e-6)
    assert index.tolist() == list(range(10))
    for row in (7, 6):  # without a sequence, and not in the store
        values, index = track.take(row, 2)
        assert values.shape == (0, 3) and index.tolist() == [-1, -1]
    vectors = np.arange(8, dtype=np.float32).reshape(4, 2)
    seen = np.array([True, True, True, False])
    write_store(tmp_path / "p", {"image": vectors}, {"n": [1] * 4}, present={"image": seen})
    shown = {1: Shown(np.array([0.0, 0.2, 0.4]), np.array([2, 0, 2])),
             2: Shown(np.array([0.0, 0.1]), np.array([1, 3]))}  # fmt: skip
    pictures = PictureTrack(Store.open(tmp_path / "p"), ["image"], shown, HZ)
    values, index = pictures.take(1, 6)
    assert values[index].tolist() == [vectors[k].tolist() for k in (2, 2, 0, 0, 2, 2)]
    assert pictures.take(2, 3)[1].tolist() == [0, -1, -1]  # picture 3 could not be embedded
    assert pictures.take(0, 3)[1].tolist() == [-1] * 3
    mean, scale = statistics(pictures, [1], [6])
    assert mean.tolist() == [2.0, 3.0] and scale.tolist() == [2.0, 2.0]


# -- decoding --------------------------------------------------------------------------------------


def at(*runs: tuple[float, int]) -> Any:
    return np.concatenate([np.full(n, value, np.float32) for value, n in runs])


def test_a_segment_ends_where_the_line_crosses_the_edge() -> None:
    probability = np.array([0, 0, 0.25, 1.0, 1.0, 0.5, 0, 0], np.float32)
    ((start_s, end_s, score),) = segments(probability, Rule(0.5, 0.0), HZ, 0.8)[:1]
    # between the middles of steps 2 and 3 the line is at 0.5 after a third of the way
    assert start_s == pytest.approx((2.5 + 1 / 3) / 10, abs=1e-4)
    assert end_s == pytest.approx(0.55)
    assert score == pytest.approx(2.5 / 3)


def test_covered_shares_of_steps_give_the_times_back() -> None:
    """An event from 0.23 to 0.61 s covers steps 2 and 6 in part; its share is the probability."""
    start = np.arange(10) / HZ
    covered = np.clip(np.minimum(start + 0.1, 0.61) - np.maximum(start, 0.23), 0, None) * HZ
    ((start_s, end_s, _),) = segments(covered.astype(np.float32), Rule(0.5, 0.0), HZ, 1.0)
    assert start_s == pytest.approx(0.23, abs=0.02) and end_s == pytest.approx(0.61, abs=0.02)


def test_ends_of_a_recording_end_a_segment() -> None:
    found = segments(at((0.9, 10)), Rule(0.5, 0.0), HZ, 0.97)
    assert found == [(0.0, 0.97, pytest.approx(0.9))]


def test_the_median_filter_closes_holes_and_drops_specks() -> None:
    holes = at((0, 5), (1, 4), (0, 1), (1, 4), (0, 5), (1, 1), (0, 4))
    smooth = filtered(holes, 0.3, HZ)
    assert smooth.tolist() == at((0, 5), (1, 9), (0, 10)).tolist()
    assert len(segments(holes, Rule(0.5, 0.3, 0.5), HZ, 2.4)) == 1
    assert len(segments(holes, Rule(0.5, 0.0, 0.5), HZ, 2.4)) == 3


def test_lower_edges_add_what_no_higher_one_has() -> None:
    probability = at((0.01, 3), (0.3, 4), (0.01, 3), (0.2, 2), (0.8, 3), (0.2, 2), (0.01, 3))
    found = segments(probability, Rule(0.5, 0.0), HZ, 2.0)
    assert [round(score, 2) for *_, score in found] == [0.8, 0.3]
    events = Events.of([(0, 0, *segment) for segment in found])
    assert len(kept(events, [0.5])) == 1 and len(kept(events, [0.25])) == 2


def test_rules_are_chosen_by_what_they_find() -> None:
    """Class 0 has a hole in each event; class 1 is plain; class 2 never happens."""
    truth, said = [], []
    for row in range(6):
        shares = np.full((40, 3), 0.02, np.float32)
        shares[10:20, 0] = 0.4
        shares[14, 0] = 0.02
        shares[22:30, 1] = 0.9
        shares[2:4, 1] = 0.3  # never true
        said.append(shares)
        truth += [(row, 0, 1.0, 2.0, 1.0), (row, 1, 2.2, 3.0, 1.0)]
    events = Events.of(truth)
    rules = choose_rules(said, events, [4.0] * 6, 3, HZ)
    assert rules[0].median_s > 0
    assert rules[2] == Rule()
    found = decode_all(said, rules, HZ, [4.0] * 6)
    assert (average_precisions(rank_events(events, found, 2)) == 1).all()
    assert 0.3 < rules[1].keep < 0.9
    assert len(kept(found, [rule.keep for rule in rules])) == 12
    names = ("a", "b", "c")
    assert rules_from_json(rules_to_json(rules, names), names) == rules


# -- the network -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """A track that lies in memory: one vector a step."""

    values: list[Any]

    @property
    def dim(self) -> int:
        return int(self.values[0].shape[1])

    def take(self, row: int, steps: int) -> Any:
        return self.values[row][:steps], np.arange(steps)


def made_data(rows: int, seed: int = 0) -> StreamData:
    """Four classes: one heard, one seen, two of the same sound told apart by what is seen."""
    rng = np.random.default_rng(seed)
    recordings, heard, seen = [], [], []
    for row in range(rows):
        sound, picture = rng.normal(0, 0.4, (40, 4)), rng.normal(0, 0.4, (40, 4))
        events = []
        for start, length in ((2, 10), (15, 8), (27, 10)):
            kind = int(rng.integers(4))
            events.append(TimedEvent("abcd"[kind], start / HZ, (start + length) / HZ))
            part = slice(start, start + length)
            if kind != 1:
                sound[part, 0 if kind == 0 else 1] += 2
            if kind != 0:
                picture[part, kind] += 2
        heard.append(sound.astype(np.float32))
        seen.append(picture.astype(np.float32))
        recordings.append(Recording(row, str(row), 4.0, "s", "p", tuple(events)))
    tracks = {"speech": Held(heard), "image": Held(seen)}
    return StreamData(recordings, tuple("abcd"), tracks, HZ)


def network_for(data: StreamData, method: str = "early", seed: int = 0) -> StreamNetwork:
    torch.manual_seed(seed)
    dims = tuple((name, track.dim) for name, track in data.tracks.items())
    return build(StreamBlueprint(dims, len(data.classes), method, 16, 3, 0.1), {})


@pytest.mark.parametrize("method", ["early", "late"])
def test_a_recording_is_answered_alike_whoever_shares_its_batch(method: str) -> None:
    data = made_data(3)
    short = [Recording(0, "0", 1.3, "s", "p", ()), *data.recordings[1:]]
    data = StreamData(short, data.classes, data.tracks, HZ)
    network = network_for(data, method)
    alone = probabilities(network, data, [0])
    together = probabilities(network, data, [1, 0, 2])
    assert alone[0].shape == (13, 4) and together[0].shape == (40, 4)
    np.testing.assert_allclose(alone[0], together[1], atol=1e-6)


@pytest.mark.parametrize("method", ["early", "late"])
def test_an_absent_part_says_nothing(method: str) -> None:
    data = made_data(2)
    network = network_for(data, method)
    away = data.batch([0, 1], absent=np.array([[False, True]] * 2))
    none = StreamData(data.recordings, data.classes, {**data.tracks, "image": AbsentTrack(4)}, HZ)
    network.eval()
    with torch.no_grad():
        np.testing.assert_allclose(network(away), network(none.batch([0, 1])), atol=1e-6)


def test_targets_are_the_shares_that_events_cover() -> None:
    recording = Recording(0, "0", 1.0, "s", None, (TimedEvent("b", 0.25, 0.5),))
    data = StreamData([recording], ("a", "b"), {"speech": Held([np.zeros((10, 1))])}, HZ)
    target = data.batch([0]).target
    assert target is not None
    assert target[0, :, 1].tolist() == pytest.approx([0, 0, 0.5, 1, 1, 0, 0, 0, 0, 0])
    assert target[0, :, 0].sum() == 0


def test_losses_by_hand() -> None:
    logits = torch.tensor([[[0.0], [2.0], [9.0]]])
    target = torch.tensor([[[1.0], [0.0], [0.0]]])
    mask = torch.tensor([[True, True, False]])
    p = 1 / (1 + np.exp(-2.0))
    plain = (np.log(2) - np.log(1 - p)) / 2
    assert float(frame_loss(logits, target, mask)) == pytest.approx(plain, rel=1e-5)
    focal = (0.5**2 * np.log(2) - p**2 * np.log(1 - p)) / 2
    assert float(frame_loss(logits, target, mask, 2.0)) == pytest.approx(focal, rel=1e-5)


# -- learning --------------------------------------------------------------------------------------


def learn(data: StreamData, method: str, rows: Any, epochs: int = 14) -> Said:
    train_rows, val, test = rows
    network = network_for(data, method)
    options = TrainOptions(epochs=epochs, lr=5e-3, weight_decay=0.01)
    train(StreamMethod(network, data, train_rows, val, batch=8), options)
    some, durations = test.tolist(), [4.0] * len(test)
    rules = choose_rules(
        probabilities(network, data, val.tolist()),
        data.truth(val.tolist()),
        [4.0] * len(val),
        len(data.classes),
        HZ,
    )
    events = decode_all(probabilities(network, data, some), rules, HZ, durations)
    found = kept(events, [rule.keep for rule in rules])
    return Said(data.truth(some), events, found, len(some), len(data.classes))


def test_both_senses_tell_what_neither_can_alone() -> None:
    """Heard alone: one class of four, and a guess between two: (1 + 0 + 1/2 + 1/2) / 4."""
    data = made_data(100)
    rows = np.split(np.arange(100), [56, 76])
    both = learn(data, "early", rows)
    found = summarised(both, 200, 0)
    assert found["map"]["value"] > 0.9 and found["event_f1"]["value"] > 0.9
    assert found["map"]["low"] <= found["map"]["value"] <= found["map"]["high"]
    assert summarised(learn(data, "late", rows), 0, 0)["map"]["value"] > 0.85
    alone = learn(data.only("speech"), "early", rows)
    assert 0.3 < summarised(alone, 0, 0)["map"]["value"] < 0.75
    gain = compared(both, alone, 200, 0, permutations=200)["map"]
    assert gain["low"] > 0.1 and gain["p"] < 0.02
    assert gain["difference"] == pytest.approx(gain["this"] - gain["other"])
    truth = data.truth(rows[0].tolist())
    guess = chance(truth, [4.0] * 56, both.truth, [4.0] * 24, 4, seed=0)
    assert 0 < guess["map"] < 0.2


class Cut(Exception):
    """Stands for a kill."""


class Stopped(StreamMethod):
    left: int | None = None

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        for batch in super().batches(epoch, start):
            if self.left is not None:
                if self.left == 0:
                    raise Cut
                self.left -= 1
            yield batch


def test_a_run_that_was_cut_off_three_times_ends_with_the_same_weights(tmp_path: Path) -> None:
    data = made_data(30)
    rows = np.split(np.arange(30), [22])
    options = TrainOptions(epochs=3, lr=5e-3, ema=0.9, checkpoint_s=0.0)

    def method(left: int | None) -> Stopped:
        found = Stopped(network_for(data), data, *rows, batch=4, dropout=0.3)
        found.left = left
        return found

    whole = method(None)
    train(whole, options)
    for left in (2, 5, 4):
        with pytest.raises(Cut):
            train(method(left), options, checkpoint=tmp_path / "c", resume=True)
    last = method(None)
    train(last, options, checkpoint=tmp_path / "c", resume=True)
    for name, value in whole.model.state_dict().items():
        np.testing.assert_array_equal(value, last.model.state_dict()[name], err_msg=name)
