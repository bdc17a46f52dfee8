"""Fine-tuning on recordings from end to end: train, cut off, go on, predict, evaluate, refuse."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from mmcli.core.errors import BadInput, MmcliError, SpaceMismatch, UsageError
from mmcli.store.predictions import Predictions
from mmcli.store.verification import verify_directory
from mmcli.tasks.streams_scores import compared
from mmcli.workflows.data.synth import SynthConfig, synth
from mmcli.workflows.evaluate.events import EventsConfig, evaluate_events
from mmcli.workflows.finetune.config import FinetuneConfig, TrickOptions
from mmcli.workflows.finetune.streams.predict import predict_streams
from mmcli.workflows.finetune.streams.run import run as finetune
from mmcli.workflows.listeners import Listeners
from mmcli.workflows.predict.raw import RawPredict
from tests.conftest import Run
from tests.tasks.small_posts import tiny_clip

N = 18  # with this seed 7 train, 6 validate, 5 test, and every class is in train and test
Row = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def few_draws(few_resamples: None) -> Iterator[None]:
    """Intervals, p values and ceilings of fewer draws than users get: nobody reads them here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmcli.data.streams.ceilings._DRAWS", 5)
        for module in ("finetune.streams.report", "evaluate.events"):
            patch.setattr(f"mmcli.workflows.{module}.compared", partial(compared, permutations=50))
        yield


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "streams"
    synth(SynthConfig("streams", str(path), {"n": N, "rate_hz": 1, "seed": 152}, workers=0))
    tiny_clip(path.parent)  # what sees them
    return path


def config(data: Path, output: Path, **more: Any) -> FinetuneConfig:
    tricks = TrickOptions(epochs=3, batch=4, head_lr=5e-3)
    usual = FinetuneConfig(
        "event",
        str(data),
        str(output),
        encoders={"speech": ("logmel",), "image": (f"local:{data.parent / 'clip'}",)},  # quick ones
        tricks=tricks,
        seeds=1,
        workers=0,
    )
    return replace(usual, **{"checkpoint_s": 0.0, **more})


@pytest.fixture(scope="module")
def trained(streams: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row]:
    model = tmp_path_factory.mktemp("model") / "model"
    return model, finetune(config(streams, model))


def test_a_model_is_written_with_its_tables(trained: tuple[Path, Row], streams: Path) -> None:
    model, report = trained
    names = ["sound and pictures, early", "sound alone", "pictures alone", "chance"]
    assert [row["model"] for row in report["table"]] == names
    for row in report["table"]:
        parts = [row[f"map@{iou}"] for iou in (0.3, 0.4, 0.5, 0.6, 0.7)]
        assert row["map"] == pytest.approx(np.mean(parts))
    assert len(report["by_class"]) == len(report["classes"]) == 10
    manifest = json.loads((model / "manifest.json").read_text())
    assert (manifest["kind"], manifest["task"]) == ("streams", "event")
    assert not verify_directory(model).problems
    assert json.loads((model / "config.json").read_text())["decoding"].keys() == {
        *report["classes"]
    }
    page = (model / "report.html").read_text()
    assert page.count("<svg") >= 4 and "<audio" in page and "chance" in page
    history = [json.loads(line) for line in (model / "history.jsonl").read_text().splitlines()]
    assert {record["model"] for record in history} == set(names[:3])
    assert not (model / "checkpoint").exists()
    said = report["rows"]
    assert sum(part["recordings"] for part in said.values()) == N and said["test"]["events"] > 0


def test_predictions_score_what_the_report_says(
    trained: tuple[Path, Row], streams: Path, tmp_path: Path
) -> None:
    model, report = trained
    asked = RawPredict(str(model), str(streams), str(tmp_path / "p"), split="test", workers=0)
    done = predict_streams(asked)
    assert done["rows"] == done["labelled"] == report["rows"]["test"]["recordings"]
    assert not verify_directory(tmp_path / "p").problems
    events = pq.read_table(tmp_path / "p/events.parquet")
    assert events.column_names == ["id", "class", "start_s", "end_s", "score"]
    found = evaluate_events(EventsConfig(str(tmp_path / "p"), bootstrap=50))
    for name in ("map", "map@0.7", "event_f1"):
        assert found["measures"][name]["value"] == pytest.approx(report["table"][0][name])
    assert [row["ap"] for row in found["per_class"]] == pytest.approx(
        [row["ap"] for row in report["by_class"]], nan_ok=True
    )
    sets = Predictions.open(tmp_path / "p")  # which classes occur is a prediction too
    assert sets.task == "multilabel" and len(sets.scored) == done["rows"]
    # without the pictures it answers otherwise
    deaf = replace(asked, output=str(tmp_path / "q"), without=("image",))
    assert predict_streams(deaf)["absent"] == ["image"]
    both = evaluate_events(
        EventsConfig(str(tmp_path / "p"), str(tmp_path / "q"), 50, html=str(tmp_path / "r.html"))
    )
    against = both["against"]["measures"]["map"]
    assert against["this"] == pytest.approx(found["measures"]["map"]["value"])
    assert 0 < against["p"] <= 1 and against["difference"] != 0
    assert "Against" in (tmp_path / "r.html").read_text()


def test_the_commands_predict_and_evaluate(
    trained: tuple[Path, Row], streams: Path, run_here: Run, tmp_path: Path
) -> None:
    words = ("predict", trained[0], streams, "-o", "p", "--split", "test", "--without", "image")
    done = run_here(*words, "--json", "--workers", "0", "-q")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["absent"] == ["image"]
    few = ("--bootstrap", 20)
    done = run_here("evaluate", "predictions", "p", "--task", "event", *few, "--json", "-q")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)["measures"]
    assert said == evaluate_events(EventsConfig(str(tmp_path / "p"), bootstrap=20))["measures"]
    assert run_here(*words, "--contributions", "--force", "-q").returncode == 2


def test_a_run_cut_off_anywhere_is_the_same_in_the_end(
    streams: Path, trained: tuple[Path, Row], tmp_path: Path
) -> None:
    """While frames are cut, while pictures are embedded, and twice while a network learns."""
    model = tmp_path / "model"

    class Cut(Exception):
        pass

    ends = []
    for steps in (12, 20, 7, 6):
        left = [steps]

        def progress(done: int, total: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                ends.append((done, total))
                raise Cut

        with pytest.raises(Cut):
            finetune(config(streams, model, resume=True), Listeners(progress=progress))
        assert (model / "state.json").exists() and not (model / "manifest.json").exists()
    assert ends == [(4, N), (64, 88), (3, 18), (8, 18)]
    finetune(config(streams, model, resume=True))
    for name in ("model.safetensors", "history.jsonl"):
        assert (model / name).read_bytes() == (trained[0] / name).read_bytes()


def test_recordings_alone_and_parts_that_cannot_be_read(streams: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (streams / "items.jsonl").open()]
    for row in rows:
        del row["image"]
        row["speech"] = str(streams / row["speech"])
    broken = next(i for i, row in enumerate(rows) if row["split"] == "test")
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    rows[broken]["speech"] = "broken.wav"
    rows[broken + 1]["events"] = None
    table = tmp_path / "t.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    said: list[str] = []
    report = finetune(config(table, tmp_path / "m"), Listeners(said.append))
    assert [row["model"] for row in report["table"]] == ["sound alone", "chance"]
    assert report["verdicts"] == [] and report["unreadable"] == 1
    assert any(f"t.jsonl:{broken + 1}: " in line for line in said)
    done = predict_streams(
        RawPredict(str(tmp_path / "m"), str(table), str(tmp_path / "p"), workers=0)
    )
    assert (done["rows"], done["labelled"], done["unreadable"]) == (N, N - 1, 1)
    found = evaluate_events(EventsConfig(str(tmp_path / "p"), bootstrap=0))
    assert (found["scored"], found["without_label"], found["without_prediction"]) == (N - 2, 1, 1)
    items = pq.read_table(tmp_path / "p/items.parquet").to_pylist()
    assert items[broken]["prediction"] is None and items[broken + 1]["events"] is None


def test_another_encoder_is_refused(
    streams: Path, trained: tuple[Path, Row], tmp_path: Path
) -> None:
    import shutil

    model = tmp_path / "model"
    shutil.copytree(trained[0], model)
    content = json.loads((model / "config.json").read_text())
    content["keys"]["speech"]["speech"]["weights_sha256"] = "0" * 64
    (model / "config.json").write_text(json.dumps(content))
    asked = RawPredict(str(model), str(streams), str(tmp_path / "p"), workers=0)
    with pytest.raises(BadInput):  # the file is not the one that the manifest names
        predict_streams(asked)
    with pytest.raises(SpaceMismatch, match="was trained on weights_sha256"):
        predict_streams(replace(asked, verify="none", without=("image",)))


# -- refused before anything is decoded ------------------------------------------------------------


def table_with(folder: Path, last: Row) -> Path:
    """Five recordings of two seconds, the last as given."""
    soundfile.write(folder / "a.wav", np.full(32_000, 0.1), 16_000)
    event = {"class": "dog", "start_s": 0.2, "end_s": 0.9}
    rows: list[Row] = [{"speech": "a.wav", "split": "train", "events": [event]}] * 4
    rows.append({"speech": "a.wav", "split": "test", "events": [event], **last})
    path = folder / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def one(label: str, start_s: float, end_s: float) -> Row:
    return {"class": label, "start_s": start_s, "end_s": end_s}


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"events": [one("dog", 1.0, 2.4)]}, "event 1 ends at 2.4 s, the recording at 2 s"),
        ({"events": [one("dog", 0, 1), one("dog", 0.5, 2)]}, "overlap at 0.5 s"),
        ({"events": [one("cow", 0, 1)]}, "class `cow` of a test row occurs in no train row"),
        ({"speech": "empty.wav"}, "`empty.wav` has no length"),
    ],
)
def test_bad_data_is_one_line(run_here: Run, tmp_path: Path, last: Row, said: str) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    path = table_with(tmp_path, last)
    done = run_here("finetune", path.name, "--task", "event", "-o", "m")
    assert done.returncode == 3, done.stderr
    message, hint = done.stderr.splitlines()
    assert f"{path.name}:5: " in message and said in message and "hint" in hint
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"strategy": {"": "lora"}}, UsageError, "--strategy"),
        ({"method": "hybrid"}, UsageError, "--method hybrid"),
        ({"only": ("text",)}, UsageError, "recordings have no text"),
        ({"only": ("image",)}, BadInput, "no recording has any of image"),
        ({"encoders": {"speech": ("logmell",)}}, UsageError, "logmell"),
        ({"encoders": {"speech": ("whisper-tiny-en-minilm",)}}, UsageError, "says words"),
        ({"options": {"rate_hz": "1000"}}, UsageError, "rate_hz=1000"),
        ({"options": {"rate": "10"}}, UsageError, "--set rate"),
        ({"classes": ("dog", "cow")}, BadInput, "class `cow` occurs in no train row"),
        ({"label": "timings"}, BadInput, "has no column `timings`"),
        ({"data": "-"}, UsageError, "read more than once"),
        ({"tricks": TrickOptions(loss="mse")}, UsageError, "--loss mse"),
        ({"tricks": TrickOptions(mixup=0.2)}, UsageError, "--mixup"),
    ],
)
def test_what_is_refused(tmp_path: Path, more: Row, error: type[MmcliError], said: str) -> None:
    asked = replace(config(table_with(tmp_path, {}), tmp_path / "m"), **more)
    with pytest.raises(error) as caught:
        finetune(asked)
    assert said in caught.value.message and caught.value.hint
    assert not (tmp_path / "m").exists()


def test_a_dry_run_says_what_would_be_done(tmp_path: Path) -> None:
    asked = config(table_with(tmp_path, {}), tmp_path / "m", dry_run=True)
    report = finetune(asked)
    assert report["dry_run"] and report["rows"]["train"]["recordings"] == 3  # one is taken as val
    assert report["modalities"] == {"speech": ["logmel"]}
    assert not (tmp_path / "m").exists()


# -- predictions of other programs -----------------------------------------------------------------


def predictions(folder: Path, segments: list[Row], truth: list[Any]) -> Path:
    folder.mkdir()
    items = [{"id": f"r{i}", "events": events} for i, events in enumerate(truth)]
    pq.write_table(pa.Table.from_pylist(items), folder / "items.parquet")
    names = ("id", "class", "start_s", "end_s", "score")
    rows = [dict(zip(names, segment, strict=True)) for segment in segments]
    pq.write_table(pa.Table.from_pylist(rows), folder / "events.parquet")
    manifest = {"format": "mmcli.predictions/1", "segments": {"keep": {"dog": 0.5}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


TRUTH = [[one("dog", 0, 1), one("cat", 1, 2)], [one("dog", 3, 4)], None]


def test_a_directory_as_the_format_describes_it_is_enough(tmp_path: Path) -> None:
    """No word of segments in the manifest, and the truth called `label`."""
    segments = [("r0", "dog", 0.0, 1.0, 0.9), ("r1", "dog", 3.0, 4.0, 0.8)]
    path = predictions(tmp_path / "p", segments, TRUTH)
    (path / "manifest.json").write_text(json.dumps({"format": "mmcli.predictions/1"}))
    items = pq.read_table(path / "items.parquet").rename_columns(["id", "label"])
    pq.write_table(items, path / "items.parquet")
    found = evaluate_events(EventsConfig(str(path)))
    assert (found["scored"], found["events"], found["found"]) == (2, 3, 2)


def test_predictions_of_another_program_by_hand(tmp_path: Path) -> None:
    segments = [
        ("r0", "dog", 0.0, 1.0, 0.9),
        ("r1", "dog", 7.0, 8.0, 0.8),
        ("r1", "dog", 3.0, 4.0, 0.4),  # below `keep`: it ranks, but is not found
        ("r0", "cat", 1.0, 1.65, 0.1),  # IoU 0.65; a class without `keep` counts at any score
        ("r2", "dog", 0.0, 1.0, 0.9),  # nobody knows
    ]
    found = evaluate_events(EventsConfig(str(predictions(tmp_path / "p", segments, TRUTH)), seed=1))
    assert (found["rows"], found["scored"], found["events"], found["found"]) == (3, 2, 3, 3)
    each = {row["class"]: row for row in found["per_class"]}
    assert each["dog"]["ap"] == pytest.approx((1 + 2 / 3) / 2)
    assert (each["cat"]["ap@0.6"], each["cat"]["ap@0.7"]) == (1.0, 0.0)
    values = {name: entry["value"] for name, entry in found["measures"].items()}
    assert values["map@0.3"] == pytest.approx((5 / 6 + 1) / 2)
    assert values["map"] == pytest.approx((5 / 6 + 4 / 5) / 2)
    assert each["dog"]["event_f1"] == pytest.approx(1 / 2)  # one of two true, one of two found
    assert each["cat"]["event_f1"] == 1.0  # half of its length off at the end is allowed
    assert values["event_f1"] == pytest.approx(3 / 4)


@pytest.mark.parametrize(
    ("segment", "said"),
    [
        (("r9", "dog", 0.0, 1.0, 0.9), "events.parquet:row 2: id `r9` is of no recording"),
        (("r0", "dog", 1.0, 1.0, 0.9), "events.parquet:row 2: ends before it starts"),
        (("r0", "dog", 0.0, 1.0, float("nan")), "events.parquet:row 2: a value is missing"),
        (("r0", None, 0.0, 1.0, 0.5), "events.parquet:row 2: a value is missing"),
    ],
)
def test_segments_that_cannot_be(tmp_path: Path, segment: Any, said: str) -> None:
    path = predictions(tmp_path / "p", [("r0", "dog", 0.0, 1.0, 0.9), segment], TRUTH)
    with pytest.raises(BadInput) as caught:
        evaluate_events(EventsConfig(str(path)))
    assert said in caught.value.message


def test_nothing_to_score(tmp_path: Path) -> None:
    path = predictions(tmp_path / "p", [("r0", "dog", 0.0, 1.0, 0.9)], [None, None])
    with pytest.raises(BadInput, match="no recording whose events are known"):
        evaluate_events(EventsConfig(str(path)))
    with pytest.raises(UsageError, match="--bootstrap -1"):
        evaluate_events(EventsConfig(str(path), bootstrap=-1))
