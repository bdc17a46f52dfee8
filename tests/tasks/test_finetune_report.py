"""What a fine-tuned model says of itself: numbers, page, card."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, mean_absolute_error

from mmcli.data.labels import LabelOptions
from mmcli.engine.device import Placement
from mmcli.fusion.model import probabilities
from mmcli.fusion.objective import OUTPUTS, objective_for
from mmcli.fusion.registry import METHODS
from mmcli.metrics.choice import measures_for
from mmcli.report.confusion import confusion_chart
from mmcli.report.residuals import residual_histogram
from mmcli.store.reader import Store
from mmcli.workflows.finetune.report.analysis import Analysis, analyse
from mmcli.workflows.finetune.report.card import finetune_card
from mmcli.workflows.finetune.report.writing import finetune_page
from mmcli.workflows.fuse.contest import ContestConfig, contest_plan, contest_report, scored_rows
from mmcli.workflows.fuse.data import FuseDataConfig, load_fuse_data
from mmcli.workflows.fuse.fit import Contest, FitRun, FuseOptions, fit
from mmcli.workflows.fuse.parts import worth
from tests.conftest import picture, recording
from tests.fusion.making import bits, everything, splits, write_store
from tests.tasks.event_files import events_of

METHOD = "early:concat"
EVIL = '<script>alert(1)</script> & "洪水"'
ROWS = 120


@dataclass
class Made:
    """A trained contest, and everything that the report is made of."""

    store: Store
    contest: Contest
    network: Any
    rows: Any
    measure: Any
    analysis: Analysis

    def said(self, without: Sequence[str] = ()) -> Any:
        view = self.contest.specs[METHOD].view
        data, objective = self.contest.data, self.contest.objective
        return probabilities(self.network, view, objective, data.inputs, self.rows, without)

    @property
    def truth(self) -> Any:
        return self.contest.data.labels.values[self.rows]


def made_of(path: Path, label: str, kind: str = "auto", task: str = "", epochs: int = 6) -> Made:
    store = Store.open(path)
    data = load_fuse_data(store, FuseDataConfig(LabelOptions(label, kind)), "cpu", "fp32")
    objective = objective_for(
        data.labels.kind, data.labels.values[data.train], len(data.labels.classes)
    )
    measure = next(iter(measures_for(OUTPUTS[data.labels.kind]).values()))
    specs = [METHODS.get(METHOD), METHODS.get("late:mean")]
    options = FuseOptions(epochs=epochs, width=16, lr=0.01)
    contest = fit(data, specs, objective, measure, options, FitRun((0,)))
    rows, _ = scored_rows(data)
    network = contest.network(METHOD, 0)
    found = analyse(network, contest, METHOD, rows, measure, store, task=task)
    return Made(store, contest, network, rows, measure, found)


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Three classes, two modalities with parts missing, pictures, sounds and words to show."""
    root = tmp_path_factory.mktemp("posts")
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, ROWS)
    parts = rng.random((2, ROWS)) >= 0.2
    for i in range(4):
        picture(root / f"{i}.png", i)
        recording(root / f"{i}.wav", i)
    images: list[str | None] = [str(root / f"{i % 4}.png") for i in range(ROWS)]
    images[-1] = str(root / "gone.png")
    columns = {
        "label": [["flood", "fire", "none"][v] for v in label],
        "image": images,
        "speech": [str(root / f"{i % 4}.wav") if i % 2 else None for i in range(ROWS)],
        "text": [f"{EVIL} {i}" for i in range(ROWS)],
        "place": [["Paris", "北京", None][i % 3] for i in range(ROWS)],
        "tags": [["a"]] * ROWS,
        "unique": [str(i) for i in range(ROWS)],
        "split": splits(ROWS),
    }
    vectors = {"image": bits(ROWS, 5, label - 1.0, 2, 0.6), "text": bits(ROWS, 6, label - 1.0, 1)}
    present = {"image": parts[0], "text": parts[1]}
    return made_of(write_store(root / "store", vectors, columns, present=present), "label")


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Made:
    path = everything(tmp_path_factory.mktemp("numbers") / "store", 120)
    return made_of(path, "score", task="sentiment", epochs=3)


def report_of(made: Made) -> dict[str, Any]:
    """As `finetune` has it."""
    data = made.contest.data
    told = ContestConfig("DATA", "MODEL", 1, 0)
    specs = [METHODS.get(METHOD)]
    plan = contest_plan(told, data, specs, made.measure, Placement("cpu", "float32"))
    report = contest_report(
        told, data, specs, made.contest.objective, made.measure, made.contest, plan
    )
    report["subsets"], report["contribution"] = worth(
        made.network, made.contest, METHOD, made.rows, made.measure
    )
    return {**report, "task": "event", "scored_rows": "test", "data": "DATA", "race": []}


# -- numbers -----------------------------------------------------------------------------------


def test_scores_and_confusions_are_those_of_scikit_learn(posts: Made) -> None:
    predicted, found = posts.said().argmax(1), posts.analysis.told
    value = found["measures"]["macro_f1"]
    assert value["value"] == pytest.approx(f1_score(posts.truth, predicted, average="macro"))
    assert value["low"] <= value["value"] <= value["high"] < value["low"] + 0.6
    assert found["confusion"]["matrix"] == confusion_matrix(posts.truth, predicted).tolist()
    assert [row["rows"] for row in found["per_class"]] == np.bincount(posts.truth).tolist()


def test_slices_are_scores_of_their_rows_alone(posts: Made) -> None:
    """Not by the label, the split, ids, parts, or columns of other sizes."""
    right = posts.said().argmax(1) == posts.truth
    found = {(s["slice"], s["value"]): s for s in posts.analysis.told["slices"]}
    assert {name for name, _ in found} == {"has image", "has text", "place"}
    column = np.array(posts.store.items(["place"]).column("place").to_pylist())[posts.rows]
    for value in ("Paris", "北京"):
        here = column == value
        one = found["place", value]
        assert one["rows"] == here.sum()
        assert one["score"]["value"] == pytest.approx(right[here].mean())
        assert one["score"]["low"] <= one["score"]["value"] <= one["score"]["high"]
    there = posts.contest.data.inputs.present(posts.rows)[:, 0]
    assert found["has image", "no"]["score"]["value"] == pytest.approx(right[~there].mean())


def test_a_modality_is_left_out_and_alone(posts: Made) -> None:
    rows = {one["modality"]: one for one in posts.analysis.told["modalities"]}
    whole, without = (
        (posts.said(gone).argmax(1) == posts.truth).mean() for gone in ((), ("image",))
    )
    assert rows["image"]["without"]["value"] == pytest.approx(without)
    assert rows["text"]["alone"]["value"] == pytest.approx(without)
    assert rows["image"]["loss"]["value"] == pytest.approx(whole - without)


def test_calibration_by_its_definition(posts: Made) -> None:
    """Bins of 1/15; the temperature is that with the least log loss on val."""
    shares, found = posts.said(), posts.analysis.told
    stated, right = shares.max(1), shares.argmax(1) == posts.truth
    number = np.ceil(stated * 15).astype(int)
    gaps = [abs((right[number == b] - stated[number == b]).sum()) for b in range(1, 16)]
    assert found["measures"]["ece"]["value"] == pytest.approx(sum(gaps) / len(stated))
    of = found["calibration"]
    assert sum(one["rows"] for one in of["bins"]) == len(stated)
    val = posts.contest.data.val
    truth = posts.contest.data.labels.values[val]
    logs = np.log(replace(posts, rows=val).said())

    def loss(temperature: float) -> float:
        powers = np.exp(logs / temperature)
        own = (powers / powers.sum(1, keepdims=True))[np.arange(len(val)), truth]
        return float(-np.log(own).mean())

    best, tried = of["temperature"], np.geomspace(0.05, 20, 200)
    assert all(loss(best) <= loss(t) + 1e-9 for t in tried)
    assert of["change"]["log_loss"]["before"] == found["measures"]["log_loss"]["value"]


def test_the_most_confident_errors_come_first(posts: Made) -> None:
    shares = posts.said()
    predicted = shares.argmax(1)
    wrong = np.flatnonzero(predicted != posts.truth)
    found = posts.analysis.told["errors"]
    assert found["wrong"] == len(wrong) > 0
    surest = wrong[np.argsort(-shares[wrong].max(1), kind="stable")][:12]
    assert [one["row"] for one in found["shown"]] == posts.rows[surest].tolist()
    first, classes = found["shown"][0], posts.contest.data.labels.classes
    assert first["said"] == classes[predicted[surest[0]]]
    assert first["true"] == classes[posts.truth[surest[0]]]
    assert first["probability"] == pytest.approx(shares[surest[0]].max())


def test_numbers_have_residuals_and_the_measures_of_sentiment(numbers: Made) -> None:
    values, found = numbers.said(), numbers.analysis.told
    assert found["measures"]["mae"]["value"] == pytest.approx(
        mean_absolute_error(numbers.truth, values)
    )
    same_side = ((values < 0) == (numbers.truth < 0)).mean()
    assert found["scale"] == "mosi"  # scores go beyond 1
    assert found["measures"]["has0_accuracy"]["value"] == pytest.approx(same_side)
    assert found["calibration"] is None and "confusion" not in found
    far = np.abs(values - numbers.truth)
    assert [abs(one["error"]) for one in found["errors"]["shown"]] == pytest.approx(
        np.sort(far)[::-1][:12]
    )
    for one in found["modalities"]:  # of an error, less is better: a loss is an increase
        loss = one["without"]["value"] - found["measures"]["mae"]["value"]
        assert one["loss"]["value"] == pytest.approx(loss)


@pytest.mark.usefixtures("few_resamples")
def test_the_wrong_label_of_a_set_is_named(tmp_path: Path) -> None:
    made = made_of(everything(tmp_path / "store", 120), "tags", epochs=2)
    first = made.analysis.told["errors"]["shown"][0]
    at = int(np.flatnonzero(made.rows == first["row"])[0])
    shares, truth = made.said()[at], made.truth[at].astype(bool)
    said = shares > 0.5
    sure = np.where(said != truth, np.where(said, shares, 1 - shares), 0)
    label = int(sure.argmax())
    assert first["of"] == ("" if said[label] else "not ") + "ab"[label]
    assert first["probability"] == pytest.approx(sure[label])
    page = finetune_page(report_of(made), made.analysis, [], made.store)
    assert f"({first['of']} {100 * first['probability']:.1f} %)" in page


# -- page and card -----------------------------------------------------------------------------


class Tags(HTMLParser):
    """The headings of a page, its tags, and the texts of its tables' cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[dict[str, str | None]] = []
        self.headings: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        if self.names and self.names[-1] == "h2" and data.strip():
            self.headings.append(data)


def test_the_page_shows_all_of_it_and_runs_nothing(posts: Made) -> None:
    report = report_of(posts)
    report["curve"] = [
        {"share": s, "train rows": n, "model": METHOD, "accuracy": a, "low": a - 0.1,
         "high": a + 0.1, "single model": "single:text", "single accuracy": a, "single low": None,
         "single high": None, "epochs": 3}
        for s, n, a in ((0.1, 6, 0.5), (1.0, 60, 0.7))
    ]  # fmt: skip
    report["leave_out"] = [{"held out": "storm Ida", "n": 7, "accuracy": 0.25}]
    report["tuning"] = {
        "towers": {"text": {"strategy": "lora", "trainable": 10, "parameters": 1000}},
        "lr": {"text": 5e-4}, "epochs": 2, "best_epoch": 1, "averaged": False, "seconds": 3.0,
        "seconds_an_epoch": 1.5,
    }  # fmt: skip
    tune = [{"stage": "tune", "epoch": 1, "loss": 0.4, "score": 0.7, "step": 1}]
    history = [*posts.contest.trained.history, *tune]
    command = "mmcli finetune --task event 'a b' -o M"
    page = finetune_page(report, posts.analysis, history, posts.store, command, {"seed": 7})
    tags = Tags(page)
    assert tags.headings == [
        "Does it help?", "Every model", "Curves", f"Scores of {METHOD}", "Classes", "Calibration",
        "Slices", "Modalities", "Errors", "Left out one at a time", "Learning curve", "Towers",
        "Settings",
    ]  # fmt: skip
    assert "script" not in tags.names and "&lt;script&gt;" in page
    sources = [a["src"] for a in tags.attributes if "src" in a]
    shown = posts.analysis.told["errors"]["shown"]
    items = posts.store.items(["image", "speech"]).take([one["row"] for one in shown]).to_pylist()
    there = [i for i in items if not i["image"].endswith("gone.png")]
    assert sum(s.startswith("data:image/jpeg;") for s in sources if s) == len(there)
    assert sum(s.startswith("data:audio/wav;") for s in sources if s) == sum(
        i["speech"] is not None for i in items
    )
    assert len(page) < 1_000_000
    assert "mmcli finetune --task event &#x27;a b&#x27; -o M" in page
    assert (
        "storm Ida" in page and "1.00 %" in page and "10 %" in page
    )  # the share that learned, the share of rows
    assert "Only early:concat had more" in page


def test_a_file_that_is_gone_is_named(posts: Made) -> None:
    found = dict(posts.analysis.told)
    shown = {**found["errors"]["shown"][0], "row": ROWS - 1}
    found["errors"] = {**found["errors"], "shown": [shown]}
    page = finetune_page(report_of(posts), replace(posts.analysis, told=found), [], posts.store)
    assert re.search(r'class="none">[^<]*gone\.png<br>[^<]*does not exist', page)


def test_a_measure_of_errors_is_drawn_as_it_is(numbers: Made) -> None:
    """The loop keeps it signed, so that greater is better; the page does not."""
    history = [{"epoch": e, "loss": 1.0, "score": -2.0 - e, "step": e} for e in (1, 2)]
    page = finetune_page(report_of(numbers), numbers.analysis, history, numbers.store)
    chart = page[page.index("mean validation mae") :]
    ticks = re.findall(r'text-anchor="end">(-?[\d.]+)</text>', chart)[:3]
    assert [float(tick) for tick in ticks] == [3.0, 3.5, 4.0]
    assert "Residuals" in page and "less is better" in page


def test_the_card_says_what_is_read_and_where_it_fails(posts: Made) -> None:
    tower = {"modality": "text", "reference": "minilm-l6", "strategy": "lora", "trainable": 10,
             "parameters": 1000, "base_sha256": "ab" * 32, "space": "minilm-tuned@1"}  # fmt: skip
    spec = METHODS.get(METHOD)
    card = finetune_card(report_of(posts), posts.analysis, spec, "mmcli x", {"text": tower})
    of = posts.analysis.told["errors"]
    assert "`text` is `minilm-l6` tuned by lora: 10 of 1000 parameters" in card
    assert f"{of['wrong']} of {of['rows']} rows are wrong" in card
    assert "`mmcli extract DATA --text model:MODEL -o STORE`" in card and "mmcli x" in card
    assert "without image: accuracy" in card


# -- charts ------------------------------------------------------------------------------------


def test_a_confusion_matrix_as_counts_and_shares() -> None:
    chart = confusion_chart(["<a>", "b"], [[3, 1], [0, 0]])
    assert "<a>" not in chart and "&lt;a&gt; called b: 1 of 4" in chart
    written = re.findall(r'style="fill:[^"]*">([^<]*)</text>', chart)
    assert written == ["3", "75%", "1", "25%"]  # and nothing where no row is
    wide = confusion_chart([f"class {i}" for i in range(30)], np.eye(30, dtype=int).tolist())
    assert wide.count("100%") == 30
    width = float(re.search(r'viewBox="0 0 (\d+)', wide).group(1))  # type: ignore[union-attr]
    assert width < 1150  # of the page's 1216 pixels, in a frame
    with pytest.raises(ValueError, match="31 classes"):
        confusion_chart(["x"] * 31, [[0] * 31] * 31)


def test_a_histogram_of_residuals() -> None:
    """Bars of a quarter from -1 to 1."""
    chart = residual_histogram([-0.9, -0.8, -0.7, 0.2, 0.9, float("nan")])
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" fill="var\(--bar\)"', chart)]
    assert [2 * h / max(heights) for h in heights] == [2, 1, 0, 0, 1, 0, 0, 1]
    assert "mean -0.26" in chart
    assert "nothing to draw" in residual_histogram([float("nan")])


# -- the command -------------------------------------------------------------------------------


def test_finetune_writes_page_card_curve_and_events(posts: Made, run_here: Any) -> None:
    done = run_here(
        "finetune", "--task", "classification", posts.store.path, "-o", "model", "--quality",
        "fast", "--epochs", "2", "--curve", "50%,100%", "--method", METHOD, "-q",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    model = Path("model")
    metrics = json.loads((model / "metrics.json").read_text())
    assert [row["share"] for row in metrics["curve"]] == [0.5, 1.0]
    whole = next(r for r in metrics["table"] if r["model"] == METHOD)
    assert metrics["curve"][1]["accuracy"] == whole["accuracy"]
    kept = metrics["analysis"]["measures"]["accuracy"]["value"]
    assert kept == pytest.approx(metrics["model_scores"]["accuracy"])
    headings = Tags((model / "report.html").read_text()).headings
    assert {"Calibration", "Slices", "Errors", "Learning curve"} <= set(headings)
    assert "## Where it fails" in (model / "README.md").read_text()
    history = [json.loads(line) for line in (model / "history.jsonl").read_text().splitlines()]
    events = events_of((model / "events.out.tfevents.mmcli").read_bytes())
    assert len(events) == 1 + len(history)
    assert run_here("verify", "model").returncode == 0
