"""Clips: parts that can be seen, heard and read, splits that share nothing, ceilings that hold."""

import io
import json
import wave
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, mean_absolute_error

from mmcli.core.errors import UsageError
from mmcli.data.clips.ceilings import ClipTally, best_rules, expected_scores, sets_of_parts
from mmcli.data.clips.faces import SIDE, draw_face
from mmcli.data.clips.generator import Clips
from mmcli.data.clips.parts import (
    LEVELS,
    PARTS,
    Levels,
    chances,
    draw_label,
    draw_levels,
    label_chances,
    label_values,
)
from mmcli.data.clips.sentences import LANGUAGES, draw_sentence, split_of
from mmcli.data.clips.speakers import COUNTS, speakers
from mmcli.data.clips.speech import RATE_HZ, resampled, say
from mmcli.workflows.data.synth import SynthConfig, synth

N_DRAWN = 30_000
Row = dict[str, Any]
SPEAKER = speakers("train", "en")[0]


def rows_of(folder: Path) -> list[Row]:
    return [json.loads(line) for line in (folder / "items.jsonl").read_text("utf-8").splitlines()]


def make(folder: Path, n: int, language: str = "en", workers: int = 0) -> list[Row]:
    options = {"n": n, "seed": 3, "language": language}
    synth(SynthConfig("clips", str(folder), options, workers=workers))
    return rows_of(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips") / "data"
    make(folder, 50)
    return folder


def test_a_row_has_all_its_parts(made: Path) -> None:
    for row in rows_of(made):
        assert Image.open(made / row["image"]).size == (SIDE, SIDE)
        with wave.open(str(made / row["speech"])) as sound:
            assert (sound.getframerate(), sound.getnchannels()) == (RATE_HZ, 1)
            assert 0.8 < sound.getnframes() / RATE_HZ < 4.5
        levels = Levels(*(row[f"sentiment_{part}"] for part in PARTS))
        assert row["sarcasm"] == levels.sarcastic()
        assert -3 <= row["sentiment"] <= 3
        phrases = LANGUAGES["en"].phrases[levels.text]
        assert any(phrase in row["text"] for phrase in phrases)


def test_the_same_options_give_the_same_bytes_and_more_begin_with_few(
    made: Path, tmp_path: Path
) -> None:
    make(tmp_path / "again", 50, workers=1)
    for path in made.rglob("*"):
        if path.is_file():
            other = tmp_path / "again" / path.relative_to(made)
            assert other.read_bytes() == path.read_bytes(), path
    for name in Clips(7).folders:
        (tmp_path / "few" / name).mkdir(parents=True)
    few = Clips(7, seed=3).make(0, tmp_path / "few").rows["items"]
    assert rows_of(made)[:7] == few
    for row in few:
        for part in ("image", "speech"):
            assert (tmp_path / "few" / row[part]).read_bytes() == (made / row[part]).read_bytes()


def test_no_speaker_and_no_sentence_crosses() -> None:
    names = [one.name for split in COUNTS for one in speakers(split, "en")]
    assert len(set(names)) == len(names) == sum(COUNTS.values())
    draw = Random(0)
    for split, level in product(COUNTS, LEVELS):
        for language in LANGUAGES:
            assert split_of(draw_sentence(language, level, split, draw)) == split


def test_splits_are_as_large_as_they_should_be(made: Path, tmp_path: Path) -> None:
    homes: dict[str, set[str]] = {}
    for row in rows_of(made):
        homes.setdefault(row["speaker"], set()).add(row["split"])
        assert split_of(row["text"]) == row["split"]
    assert all(len(splits) == 1 for splits in homes.values())
    counts = Counter(row["split"] for row in rows_of(made))
    assert counts["train"] > counts["test"] > counts["val"] > 0


def test_no_phrase_has_two_levels() -> None:
    for language in LANGUAGES.values():
        phrases = [phrase for level in LEVELS for phrase in language.phrases[level]]
        assert len(set(phrases)) == len(phrases)


def test_words_turn_round_when_voice_and_face_contradict_them() -> None:
    assert Levels(3, 3, 3).sentiment() == pytest.approx(3)
    assert Levels(3, -2, -3).sentiment() == pytest.approx(0.56 * -3 + 0.22 * -2 + 0.22 * -3)
    assert Levels(-2, 3, 2).sentiment() == pytest.approx(0.56 * 2 + 0.22 * 3 + 0.22 * 2)
    # half contradicted they count nothing; by one of the two alone they stay
    assert Levels(3, -1, -3).sentiment() == pytest.approx(0.22 * -1 + 0.22 * -3)
    assert Levels(3, -3, 0).sentiment() == pytest.approx(0.56 * 3 + 0.22 * -3)
    assert Levels(3, -3, 1).sentiment() == pytest.approx(0.56 * 3 + 0.22 * -3 + 0.22)
    assert Levels(0, -3, -3).sarcastic() is False


@pytest.fixture(scope="module")
def drawn() -> list[Row]:
    draw = Random(5)
    found = []
    for _ in range(N_DRAWN):
        levels = draw_levels(draw)
        label = draw_label(levels, draw)
        parts = {f"sentiment_{part}": getattr(levels, part) for part in PARTS}
        row = {**parts, "sentiment": label, "sarcasm": levels.sarcastic()}
        found.append({**row, "speaker": "one", "split": "test"})
    return found


def test_chances_are_those_of_what_is_drawn(drawn: list[Row]) -> None:
    assert chances().sum() == pytest.approx(1)
    assert np.allclose(label_chances().sum(axis=-1), 1)
    counts = np.zeros((7, 7, 7))
    for row in drawn:
        counts[tuple(row[f"sentiment_{part}"] + 3 for part in PARTS)] += 1
    error = np.sqrt(chances() * (1 - chances()) / N_DRAWN)
    assert (np.abs(counts / N_DRAWN - chances()) < 5 * error).all()
    draw = Random(6)
    levels = Levels(3, -1, 2)
    labels = [draw_label(levels, draw) for _ in range(5000)]
    expected = label_chances()[6, 2, 5]
    assert np.mean(labels) == pytest.approx(expected @ label_values(), abs=0.04)
    assert np.std(labels) == pytest.approx(
        np.sqrt(expected @ label_values() ** 2 - (expected @ label_values()) ** 2), abs=0.03
    )


def test_ceilings_on_many_rows_are_the_expected_ones(drawn: list[Row]) -> None:
    tally = ClipTally()
    tally.add({"items": drawn})
    for scores in tally.facts()["ceilings"].values():
        for name, value in scores["expected"].items():
            assert scores["test"][name] == pytest.approx(value, abs=0.015)
    best = tally.facts()["ceilings"]
    assert best["text+speech+image"]["expected"]["pearson"] < 0.97
    for single in PARTS:
        assert best[single]["expected"]["pearson"] < 0.72


def test_measures_are_scikit_learns(drawn: list[Row]) -> None:
    rules = best_rules(("text", "image"))
    rows = drawn[:2000]
    tally = ClipTally()
    tally.add({"items": rows})
    found = tally.facts()["ceilings"]["text+image"]["test"]
    at = tuple(np.array([[row[f"sentiment_{part}"] + 3 for part in PARTS] for row in rows]).T)
    label = np.array([row["sentiment"] for row in rows])
    assert found["pearson"] == pytest.approx(np.corrcoef(rules.mean[at], label)[0, 1], abs=1e-6)
    assert found["mae"] == pytest.approx(mean_absolute_error(label, rules.median[at]), abs=1e-6)
    decided = label != 0
    for name, rule, truth, counted in (
        ("has0_accuracy", rules.not_negative, label >= 0, np.ones(len(rows), bool)),
        ("non0_accuracy", rules.positive, label > 0, decided),
    ):
        right = accuracy_score(truth[counted], rule[at][counted] > 0)
        assert found[name] == pytest.approx(right, abs=1e-6)


def test_no_other_rule_is_better() -> None:
    """Small changes of the best rules lose, by the measure that each is for."""
    rules = best_rules(("speech",))
    best = expected_scores(rules)
    shift = np.zeros((7, 7, 7))
    for level in range(7):
        shift[:] = 0
        shift[:, level] = 0.2
        for sign in (-1, 1):
            moved = replace(
                rules, mean=rules.mean + sign * shift, median=rules.median + sign * shift
            )
            assert expected_scores(moved)["pearson"] < best["pearson"]
            assert expected_scores(moved)["mae"] > best["mae"] - 1e-9
        turned = replace(
            rules,
            not_negative=np.where(shift > 0, 1 - rules.not_negative, rules.not_negative),
            positive=np.where(shift > 0, 1 - rules.positive, rules.positive),
        )
        assert expected_scores(turned)["has0_accuracy"] <= best["has0_accuracy"]
        assert expected_scores(turned)["non0_accuracy"] <= best["non0_accuracy"]


def test_more_parts_are_never_worse() -> None:
    scores = {seen: expected_scores(best_rules(seen)) for seen in sets_of_parts()}
    for few, more in product(scores, scores):
        if set(few) < set(more):
            assert scores[few]["pearson"] < scores[more]["pearson"]
            assert scores[few]["mae"] > scores[more]["mae"]
            assert scores[few]["non0_accuracy"] < scores[more]["non0_accuracy"]


def pixels(level: int, seed: str = "x") -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(draw_face(SPEAKER.look, level, Random(seed)))))


def test_a_smile_bends_up_and_a_frown_down() -> None:
    """The corners of the lips against their middle, in faces that differ in nothing else."""
    bends = []
    for level in LEVELS:
        found = []
        for seed in "abcdef":
            red, green, blue = (pixels(level, seed)[..., c].astype(int) for c in range(3))
            y, x = np.nonzero((np.abs(red - 165) + np.abs(green - 50) + np.abs(blue - 55)) < 12)
            left, right = np.quantile(x, (0.06, 0.94))
            corners, middle = y[(x < left) | (x > right)], y[np.abs(x - np.median(x)) < 4]
            found.append(middle.mean() - corners.mean())
        bends.append(np.mean(found))
    assert (np.diff(bends) > 0).all() and bends[0] < -8 < 8 < bends[-1]


def test_a_happy_voice_is_louder_and_faster_and_nothing_else_is_changed_by_chance() -> None:
    text = "The film was as usual."
    loud, long = [], []
    for level in LEVELS:
        found = [heard(text, level, seed) for seed in "abcd"]
        loud.append(np.mean([np.sqrt((one**2).mean()) for one in found]))
        long.append(np.mean([len(one) / RATE_HZ for one in found]))
    assert loud[-1] > 1.5 * loud[0] and (np.diff(loud[::2]) > 0).all()
    assert long[-1] < 0.8 * long[0] and (np.diff(long[::2]) < 0).all()
    assert np.array_equal(heard(text, 2, "a"), heard(text, 2, "a"))


def heard(text: str, level: int, seed: str) -> np.ndarray:
    with wave.open(io.BytesIO(say(text, SPEAKER, level, Random(seed)))) as sound:
        return np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(float)


def test_resampling_keeps_a_tone() -> None:
    rate_hz = 22_050
    tone = 8000 * np.sin(2 * np.pi * 441 * np.arange(rate_hz) / rate_hz)
    found = resampled(np.round(tone).astype(np.int16), rate_hz)
    assert len(found) == RATE_HZ
    wanted = 8000 * np.sin(2 * np.pi * 441 * np.arange(RATE_HZ) / RATE_HZ)
    assert np.abs(found - wanted).max() < 2


def test_chinese_is_said_too(tmp_path: Path) -> None:
    rows = make(tmp_path / "zh", 3, "zh")
    assert all("\u4e00" <= row["text"][0] <= "\u9fff" for row in rows)


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(UsageError, match="-n 0"):
        Clips(0).check()
    with pytest.raises(UsageError, match="language fr"):
        Clips(5, language="fr").check()


def test_the_readme_has_the_ceilings(made: Path) -> None:
    text = (made / "README.md").read_text("utf-8")
    manifest = json.loads((made / "manifest.json").read_bytes())
    best = manifest["ceilings"]["text+speech+image"]["expected"]["pearson"]
    assert f"| text+speech+image | expected | {best:.3f} |" in text
    assert "acted emotional speech" in " ".join(text.split())
