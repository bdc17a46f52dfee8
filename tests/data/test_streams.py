"""Recordings with timed events: made ones are what their rows say, bad ones are refused by row."""

import hashlib
import io
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.files import PartError
from mmcli.data.source import SourceOptions, open_source
from mmcli.data.streams.ceilings import stream_ceilings
from mmcli.data.streams.frames import animation_s, cut_frames, read_frames
from mmcli.data.streams.generator import Streams
from mmcli.data.streams.movies import LAMPS, SIDE
from mmcli.data.streams.recordings import Recordings, read_recordings, sound_s
from mmcli.data.streams.sounds import GROUNDS, RATE_HZ, SOUNDS
from mmcli.data.streams.timeline import GAP_S, KINDS, draw_timeline
from tests.conftest import Run, recording

Row = dict[str, Any]
N = 16


@dataclass(frozen=True)
class Made:
    """Recordings that were made, and where."""

    folder: Path
    items: list[Row]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("streams")
    return Made(folder, rows_of(Streams(N, seed=3), folder))


def rows_of(streams: Streams, where: Path) -> list[Row]:
    for name in streams.folders:
        (where / name).mkdir(parents=True, exist_ok=True)
    blocks = range(len(streams.blocks()))
    return [row for block in blocks for row in streams.make(block, where).rows["items"]]


def test_timelines_keep_their_promises() -> None:
    seen = set()
    for number in range(300):
        timeline = draw_timeline(Random(f"{number}"))
        seen |= {event.kind.name for event in timeline.events}
        for event in timeline.events:
            assert 0 <= event.start_s < event.end_s <= timeline.duration_s
        for kind in KINDS:
            own = [event for event in timeline.events if event.kind == kind]
            assert all(b.start_s >= a.end_s + GAP_S for a, b in pairwise(own))
        lamp = [event for event in timeline.events if event.kind.group == "both"]
        assert all(b.start_s >= a.end_s + GAP_S for a, b in pairwise(lamp))
    assert seen == {kind.name for kind in KINDS}


def test_rows_say_how_long_the_recording_is(made: Made) -> None:
    assert len({row["id"] for row in made.items}) == N
    for row in made.items:
        samples, rate_hz = soundfile.read(made.folder / row["speech"], dtype="int16")
        assert rate_hz == RATE_HZ and len(samples) == round(row["duration_s"] * RATE_HZ)
        assert 500 < np.abs(samples.astype(int)).max() < 32767
        seconds = animation_s(str(made.folder / row["image"]))
        assert seconds in (0.0, pytest.approx(row["duration_s"], abs=0.002))  # 0: nothing moves


def test_what_is_seen_is_seen_at_its_time(made: Made) -> None:
    """The lamp's own colour is in a frame if and only if the lamp is lit then."""
    lit = 0
    for row in made.items:
        shown = _at_rate(made.folder / row["image"], 4, row["duration_s"])
        for k, pixels in enumerate(shown):
            names = {e["class"] for e in row["events"] if e["start_s"] <= k / 4 < e["end_s"]}
            for picture, tone in LAMPS.items():
                on = any(kind.picture == picture and kind.name in names for kind in KINDS)
                there = (np.abs(pixels.astype(int) - tone).sum(axis=2) < 3).sum()
                hidden = bool(names & {"ball", "wheel"})  # they pass in front
                assert (there > 100) == on or (on and hidden), (row["id"], k, picture)
                lit += on
    assert lit > 20


def _at_rate(path: Path, rate_hz: int, duration_s: float) -> list[np.ndarray]:
    frames = list(read_frames(str(path)))
    starts = np.cumsum([0.0, *(frame.shown_s for frame in frames[:-1])])
    times = np.arange(int(duration_s * rate_hz)) / rate_hz + 1e-6
    return [np.asarray(frames[at].picture) for at in np.searchsorted(starts, times, "right") - 1]


def test_what_is_heard_is_loud_at_its_time(made: Made) -> None:
    """In the band of a siren there is more power while it sounds than while nothing does."""
    ratios = []
    for row in made.items:
        samples, _ = soundfile.read(made.folder / row["speech"])
        busy = np.zeros(len(samples), bool)
        for event in row["events"]:
            busy[int(event["start_s"] * RATE_HZ) : int(event["end_s"] * RATE_HZ)] = True
        for event in row["events"]:
            part = samples[int(event["start_s"] * RATE_HZ) : int(event["end_s"] * RATE_HZ)]
            if event["class"] == "siren" and (~busy).any():
                ratios.append(np.mean(part**2) / np.mean(samples[~busy] ** 2))
    assert len(ratios) >= 5 and min(ratios) > 2  # 6 dB and more: a factor of 4, the ground added


@pytest.mark.parametrize("name", [*SOUNDS, *GROUNDS])
def test_sounds_of_a_kind_differ_and_are_finite(name: str) -> None:
    make = SOUNDS.get(name) or GROUNDS[name]
    first, second = (make(8000, np.random.default_rng(seed)) for seed in (1, 2))
    assert first.shape == (8000,) and np.isfinite(first).all() and np.abs(first).max() > 0
    assert not np.allclose(first, second)


def test_the_same_bytes_for_a_seed_and_more_begins_alike(made: Made, tmp_path: Path) -> None:
    again = rows_of(Streams(8, seed=3), tmp_path / "a")
    assert again == made.items[:8]
    for row in again:
        for part in ("speech", "image"):
            mine, theirs = (folder / row[part] for folder in (tmp_path / "a", made.folder))
            assert _sha(mine) == _sha(theirs)
    other = rows_of(Streams(2, seed=4), tmp_path / "b")
    assert other[0]["events"] != again[0]["events"]


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_best_of_each_sense_by_hand() -> None:
    """A knock, a ball, one fire alarm and three door bells."""

    def event(name: str, start_s: float) -> Row:
        return {"class": name, "start_s": start_s, "end_s": start_s + 1}

    rows = [[event("knock", 0), event("ball", 2), event("fire_alarm", 4)]]
    rows += [[event("door_bell", 1)]] * 3
    found = stream_ceilings(rows)
    # heard: knock 1, ball 0; of four bells one is a fire alarm, at each rank as likely, so that its
    # precision is 1, 1/2, 1/3 or 1/4; the three door bells are all but one of the four
    alarm = (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4
    doors = (1 + (2 + 3 / 4) / 3 + (1 + 2 * 3 / 4) / 3 + 3 / 4) / 4
    assert found["sound"] == pytest.approx((1 + 0 + alarm + doors) / 4, abs=0.02)
    # seen: red and blue tell these two apart, and no train or tram is there to be wrong about
    assert found["pictures"] == pytest.approx((0 + 1 + 1 + 1) / 4)
    assert found["both"] == 1.0


def test_the_command_makes_a_source(run: Run, tmp_path: Path) -> None:
    words = ("-n", "9", "--rate", "1", "--workers", "2", "-q")
    assert run("data", "synth", "streams", "-o", "a", *words).returncode == 0
    rows = rows_of(Streams(2, rate_hz=1), tmp_path / "b")
    assert rows == [json.loads(line) for line in (tmp_path / "a/items.jsonl").open()][:2]
    for row in rows:
        for part in ("speech", "image"):
            assert _sha(tmp_path / "a" / row[part]) == _sha(tmp_path / "b" / row[part])
    manifest = json.loads((tmp_path / "a/manifest.json").read_text())
    assert set(manifest["best_map"]["train"]) == {"sound", "pictures", "both"}
    assert "--rate 1" in (tmp_path / "a/README.md").read_text()
    found = read(tmp_path / "a")
    assert [one.id for one in found.rows] == [f"{i:05d}" for i in range(9)]
    assert not found.unreadable and all(one.events is not None for one in found.rows)


@pytest.mark.parametrize(("n", "rate_hz"), [(0, 4), (4, 0), (4, 31)])
def test_what_cannot_be_made(n: int, rate_hz: int) -> None:
    with pytest.raises(UsageError):
        Streams(n, rate_hz=rate_hz).check()


# -- frames ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "gif", "webp"])
def test_frames_and_their_times(tmp_path: Path, suffix: str) -> None:
    tones = [(250, 0, 0), (0, 0, 250), (250, 0, 0)]
    pictures = [Image.new("RGB", (20, 10), tone) for tone in tones]
    path = tmp_path / f"clip.{suffix}"
    shown_ms = [200, 500, 300]
    lossless = {"lossless": True} if suffix == "webp" else {}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=shown_ms, **lossless)
    assert animation_s(str(path)) == pytest.approx(1.0)
    shown = cut_frames(str(path), tmp_path, "clip")
    assert [start for start, _ in shown] == pytest.approx([0.0, 0.2, 0.7])
    assert [name for _, name in shown] == ["clip-00000.png", "clip-00001.png", "clip-00000.png"]
    for (_, name), tone in zip(shown, tones, strict=True):
        assert Image.open(tmp_path / name).convert("RGB").getpixel((3, 3)) == tone


def test_a_still_picture_is_one_frame_of_no_length(tmp_path: Path) -> None:
    Image.new("L", (5, 5), 7).save(tmp_path / "still.jpg")
    (frame,) = read_frames(str(tmp_path / "still.jpg"))
    assert frame.shown_s == 0 and frame.picture.mode == "RGB"
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(PartError, match="cannot be decoded"):
        animation_s(str(tmp_path / "broken.png"))


# -- reading ---------------------------------------------------------------------------------------


def read(path: Path, *, labelled: bool = True, column: str = "events") -> Recordings:
    spool = path.parent / "spool"
    source = open_source(SourceOptions(str(path)), spool)
    try:
        return read_recordings(source, str(path), column, labelled=labelled)
    finally:
        source.close()


def table(folder: Path, *events: Any, name: str = "items.jsonl") -> Path:
    """A row for each value of the column; every recording lasts two seconds."""
    recording(folder / "a.wav", 1, seconds=2.0)
    rows = [
        json.dumps({"id": str(i), "speech": "a.wav", "events": e}) for i, e in enumerate(events)
    ]
    path = folder / name
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


def one(label: Any, start_s: Any, end_s: Any, **more: Any) -> Row:
    return {"class": label, "start_s": start_s, "end_s": end_s, **more}


FINE = [one("dog", 0.1, 0.5)]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([one("dog", 0.2, 2.2)], "event 1 ends at 2.2 s, the recording at 2 s"),
        ([one("dog", -0.1, 0.5)], "event 1 starts at -0.1 s"),
        ([one("dog", 0.5, 0.5)], "event 1 ends at 0.5 s and starts at 0.5 s"),
        ([one("dog", 0.9, 0.5)], "event 1 ends at 0.5 s and starts at 0.9 s"),
        (
            [one("dog", 1, 1.6), one("cat", 0, 2), one("dog", 0.4, 1.2)],
            "events 3 and 1 are both `dog` and overlap at 1 s",
        ),
        ([one("dog", 0, 1, loud=True)], "event 1 has an unknown key `loud`"),
        ([{"class": "dog", "start_s": 0.0}], "event 1 has no `end_s`"),
        ([one("", 0, 1)], "event 1: `class` is no name"),
    ],
)
def test_events_that_cannot_be(tmp_path: Path, events: Any, said: str) -> None:
    path = table(tmp_path, FINE, events)
    with pytest.raises(BadInput) as caught:
        read(path)
    assert caught.value.message == f"{path}:2: {said}" and caught.value.exit_code == 3
    assert caught.value.hint


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ('[{"class": "dog", "start_s": 0,', "`events` is not JSON"),
        ('{"class": "dog"}', "`events` is no list of events"),
        ("[3]", "event 1 is no object"),
        ('[{"class": "dog", "start_s": "soon", "end_s": 1}]', "`start_s` is no number of seconds"),
        ('[{"class": "dog", "start_s": true, "end_s": 1}]', "`start_s` is no number of seconds"),
    ],
)
def test_events_as_text_that_cannot_be(tmp_path: Path, cell: str, said: str) -> None:
    path = table(tmp_path, json.dumps(FINE), cell)
    with pytest.raises(BadInput, match=r"items\.jsonl:2: ") as caught:
        read(path)
    assert said in caught.value.message


def test_a_list_that_is_none_in_a_column_of_lists(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r'items\.jsonl:3: column "events"'):
        read(table(tmp_path, FINE, [], "soon"))


def test_lists_of_a_table_and_their_text_read_alike(tmp_path: Path) -> None:
    events = [one("cat", 0, 1), one("dog", 0.5, 2.04)]  # the end is rounded
    lists = read(table(tmp_path, FINE, events, [], None))
    assert [one.events is None for one in lists.rows] == [False, False, False, True]
    assert [e.label for e in lists.rows[1].events or ()] == ["cat", "dog"]
    assert lists.rows[2].events == () and lists.rows[0].duration_s == 2.0
    texts = [json.dumps(FINE), json.dumps(events), "[]", ""]
    assert read(table(tmp_path, *texts)).rows == lists.rows
    cells = io.StringIO()
    cells.write("id,speech,events\n")
    for i, text in enumerate(texts):
        cells.write(f'{i},a.wav,"{text.replace(chr(34), chr(34) * 2)}"\n')
    (tmp_path / "items.csv").write_text(cells.getvalue())
    assert read(tmp_path / "items.csv").rows == lists.rows


def test_a_recording_of_no_length(tmp_path: Path) -> None:
    path = table(tmp_path, FINE, [])
    soundfile.write(tmp_path / "a.wav", np.zeros(0, np.int16), 16000)
    assert sound_s(str(tmp_path / "a.wav")) == 0
    with pytest.raises(BadInput, match=r"items\.jsonl:1: `a\.wav` has no length"):
        read(path)
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(BadInput, match=r"items\.jsonl:1: `a\.wav` has no length"):
        read(path)


def test_a_recording_longer_than_what_is_decoded(tmp_path: Path) -> None:
    path = table(tmp_path, [])
    soundfile.write(tmp_path / "a.wav", np.zeros(601 * 8000, np.int16), 8000, subtype="PCM_U8")
    with pytest.raises(BadInput, match="lasts 601 s, more than 600"):
        read(path)


def test_parts_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    recording(tmp_path / "a.wav", 1, seconds=2.0)
    (tmp_path / "b.wav").write_bytes(b"RIFFnothing of the kind")
    rows = [{"speech": name, "events": []} for name in ("a.wav", "b.wav", "c.wav")]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = read(tmp_path / "t.jsonl")
    assert [one.duration_s for one in found.rows] == [2.0, 0.0, 0.0]
    assert set(found.unreadable) == {1, 2}
    assert "does not exist" in found.unreadable[2]
    assert found.where(1) == f"{tmp_path / 't.jsonl'}:2"


def test_a_moving_picture_alone_has_its_own_length(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (SIDE, SIDE), (k, 0, 0)) for k in range(4)]
    path = tmp_path / "m.png"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=250)
    pictures[0].save(tmp_path / "s.png")
    (tmp_path / "t.jsonl").write_text(json.dumps({"image": "m.png", "events": [one("x", 0, 1)]}))
    assert read(tmp_path / "t.jsonl").rows[0].duration_s == pytest.approx(1.0)
    (tmp_path / "t.jsonl").write_text(json.dumps({"image": "s.png", "events": []}))
    with pytest.raises(BadInput, match=r"t\.jsonl:1: `s\.png` is a still picture"):
        read(tmp_path / "t.jsonl")
    row = {"image": "s.png", "events": [], "duration_s": 3}
    (tmp_path / "t.jsonl").write_text(json.dumps(row))
    assert read(tmp_path / "t.jsonl").rows[0].duration_s == 3.0


def test_a_table_without_events(tmp_path: Path) -> None:
    path = table(tmp_path, FINE)
    with pytest.raises(BadInput, match="has no column `event`"):
        read(path, column="event")
    assert read(path, column="event", labelled=False).rows[0].events is None
