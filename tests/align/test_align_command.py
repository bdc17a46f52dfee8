"""`mmcli align` as a user runs it: train, apply, resume, refuse."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mmcli.align.aligner import Aligner
from mmcli.core.errors import BadInput
from mmcli.store.reader import Store
from mmcli.workflows.align.data import DataConfig
from mmcli.workflows.align.train import TrainConfig, train
from tests.align.making import planted
from tests.conftest import Run

FAST = ("--epochs", "3", "--batch", "64", "--hidden", "16", "-q")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("planted") / "store", absent={"image": 0.1})


def test_train_apply_verify_and_evaluate(run_here: Run, store: Path, tmp_path: Path) -> None:
    done = run_here("align", "train", store, "-o", "a", "--between", "text,image", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["rows"]["test"] == 75
    found = report["test"]["text-to-image"]
    assert found["hit@1"] > 0.8 and found["queries"] == found["targets"] < 75
    names = {p.name for p in (tmp_path / "a").iterdir()}
    assert names == {
        "manifest.json", "model.safetensors", "config.json", "metrics.json", "history.jsonl",
        "report.html", "README.md",
    }  # fmt: skip
    (run,) = json.loads(run_here("runs", "a", "--format", "json").stdout)
    assert (run["task"], run["metric"]) == ("align", "text-to-image hit@10")
    assert run["score"] == found["hit@10"] and run["scored_rows"] == "test"
    assert run_here("align", "apply", "a", store, "-o", "out").returncode == 0
    for directory in ("a", "out"):
        assert run_here("verify", directory).returncode == 0
    aligned = Store.open(tmp_path / "out")
    assert set(aligned.keys) == {"text", "image"}
    assert aligned.keys["text"]["space"] == aligned.keys["image"]["space"] == report["space"]
    has = aligned.has("image")
    lengths = np.linalg.norm(aligned.load("image"), axis=1)
    np.testing.assert_allclose(lengths, has.astype(float), atol=1e-5)
    assert aligned.ids() == Store.open(store).ids()
    evaluated = run_here(
        "evaluate", "retrieval", "out", "--query", "text", "--target", "image", "--json"
    )
    assert evaluated.returncode == 0, evaluated.stderr
    through = run_here(
        "evaluate", "retrieval", store, "--query", "text", "--target", "image", "--aligner", "a",
        "--json",
    )  # fmt: skip
    one, other = json.loads(evaluated.stdout), json.loads(through.stdout)
    assert one["directions"] == other["directions"]


@pytest.mark.parametrize("method", ["contrastive", "contrastive:sigmoid", "dual", "dual:moments"])
def test_methods_beat_chance_and_say_what_they_did(
    run_here: Run, store: Path, tmp_path: Path, method: str
) -> None:
    words = ("--method", method, "--epochs", "15", "--batch", "64", "--json")
    done = run_here("align", "train", store, "-o", "a", "--between", "text,image", *words)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["test"]["text-to-image"]["hit@10"] > 0.35  # chance is 0.15
    assert [row["method"].partition(":")[0] for row in report["scores"]] == [
        "linear", method.partition(":")[0],
    ]  # fmt: skip
    history = [json.loads(line) for line in (tmp_path / "a/history.jsonl").open()]
    assert len(history) == 15 and all(record["loss"] > -1 for record in history)
    page = (tmp_path / "a/report.html").read_text()
    assert "<polyline" in page and "mmcli align train" in page
    assert "| linear" in (tmp_path / "a/README.md").read_text()


def test_dual_can_be_applied_one_way(run_here: Run, store: Path, tmp_path: Path) -> None:
    words = ("--method", "dual", "--paired", "0.5", *FAST)
    assert (
        run_here("align", "train", store, "-o", "d", "--between", "text,image", *words).returncode
        == 0
    )
    done = run_here("align", "apply", "d", store, "-o", "out", "--direction", "text-to-image")
    assert done.returncode == 0, done.stderr
    out, given = Store.open(tmp_path / "out"), Store.open(store)
    has = out.has("image")
    np.testing.assert_allclose(out.load("image")[has], given.load("image")[has], atol=1e-6)
    assert out.keys["text"]["dim"] == 24
    wrong = run_here("align", "apply", "d", store, "-o", "x", "--direction", "text-to-imag")
    assert wrong.returncode == 2 and "text-to-image" in wrong.stderr
    both = run_here("align", "apply", "d", store, "-o", "both", "--json")
    assert json.loads(both.stdout)["dim"] == 40


def test_unpaired_rows_of_a_second_store(run_here: Run, store: Path, tmp_path: Path) -> None:
    more = planted(tmp_path / "more", seed=5)
    words = ("--method", "dual", "--unpaired", more, "--paired", "0.2", "--json")
    done = run_here(
        "align", "train", store, "-o", "d", "--between", "text,image", *words, *FAST[:-1]
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    left = report["rows"]["unpaired_text"]
    assert left > 300  # all of the second store, and the train rows whose pairs were not kept
    assert report["chosen"]["unpaired"]["text"] >= left
    other = planted(tmp_path / "other", dims={"text": 8, "image": 24})
    refused = run_here(
        "align", "train", store, "-o", "e", "--between", "text,image", "--method", "dual",
        "--unpaired", other,
    )  # fmt: skip
    assert refused.returncode == 3 and "dim" in refused.stderr


def test_three_modalities(run_here: Run, tmp_path: Path) -> None:
    planted(tmp_path / "s", dims={"text": 16, "image": 24, "speech": 10}, absent={"speech": 0.5})
    for method in ("linear", "contrastive"):
        done = run_here(
            "align", "train", "s", "-o", method, "--between", "text,image,speech", "--method",
            method, "--json", *FAST[:-1],
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["test"]) == 6


def test_seeds_have_intervals(run_here: Run, store: Path) -> None:
    words = ("--method", "contrastive", "--seeds", "3", "--json", *FAST[:-1])
    done = run_here("align", "train", store, "-o", "a", "--between", "text,image", *words)
    row = json.loads(done.stdout)["scores"][-1]
    assert row["text-to-image hit@10 ±"] > 0
    values = [s["text-to-image hit@10"] for s in json.loads(done.stdout)["seeds_scores"]]
    assert row["text-to-image hit@10"] == pytest.approx(float(np.mean(values)))


def test_the_same_seed_gives_the_same_bytes(run_here: Run, store: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run_here("align", "train", store, "-o", name, "--between", "text,image",
            "--method", "contrastive", *FAST)  # fmt: skip
    one, two = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("hard", [0, 2])
def test_resume_of_a_killed_run_is_exact(store: Path, tmp_path: Path, hard: int) -> None:
    import mmcli.align.contrastive as method

    def config(output: str, **changes: Any) -> TrainConfig:
        from mmcli.align.fitting import AlignOptions

        options = AlignOptions(epochs=4, batch=32, hard_negatives=hard)
        return TrainConfig(
            str(store), str(tmp_path / output), DataConfig(("text", "image")), "contrastive",
            options, checkpoint_s=0.0, precision="fp32", **changes,
        )  # fmt: skip

    train(config("whole"))
    original, left = method.Contrastive.step, iter(range(31 if hard else 9))

    def dies(self: Any, batch: Any, backward: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return original(self, batch, backward)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(method.Contrastive, "step", dies)
        train(config("cut"))
    assert not (tmp_path / "cut/manifest.json").exists()
    with pytest.raises(BadInput, match="unfinished"):
        train(config("cut"))
    train(config("cut", resume=True))
    whole, cut = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "cut"))
    for name in whole:
        np.testing.assert_array_equal(whole[name], cut[name])
    assert not (tmp_path / "cut/checkpoint").exists()


def test_nothing_is_overwritten_and_a_dry_run_writes_nothing(
    run_here: Run, store: Path, tmp_path: Path
) -> None:
    base = ("align", "train", store, "--between", "text,image")
    dry = run_here(*base, "-o", "a", "-n", "--json")
    assert dry.returncode == 0 and not (tmp_path / "a").exists()
    assert json.loads(dry.stdout)["rows"]["train"] > 0
    assert run_here(*base, "-o", "a", "-q").returncode == 0
    again = run_here(*base, "-o", "a")
    assert again.returncode == 3 and "--force" in again.stderr
    assert run_here(*base, "-o", "a", "--force", "-q", "--method", "linear:ridge").returncode == 0
    assert run_here("verify", "a").returncode == 0
    assert Aligner.open(tmp_path / "a").config["chosen"]["variant"] == "ridge"
    assert len(list((tmp_path / "a").iterdir())) == 7


def test_options_that_a_method_does_not_read_are_named(run_here: Run, store: Path) -> None:
    base = ("align", "train", store, "-o", "a", "--between", "text,image", "-n")
    done = run_here(*base, "--epochs", 5, "--lr", 3, "--anchor", "text", "--warmup", 0.1)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert line == "warning: `--epochs`, `--lr` are not read by linear" and done.returncode == 0
    done = run_here(*base, "--method", "contrastive", "--epochs", 5, "--lr", 0.1)
    assert "warning" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--between", "text"), 2, "two or more modalities"),
        (("--between", "text,imag"), 2, "did you mean `image`"),
        (("--between", "text,speech"), 3, "has no speech"),
        (("--between", "text,image", "--method", "contrastiv"), 2, "did you mean `contrastive`"),
        (("--between", "text,image", "--method", "dual:mdm"), 2, "dual:mmd"),
        (("--between", "text,image", "--positive-by", "caus"), 3, "did you mean `cause`"),
        (("--between", "text,image", "--split-column", "spl"), 3, "no column `spl`"),
        (("--between", "text,image", "--keys", "text"), 2, "no key of image"),
        (("--between", "text,image", "--paired", "2"), 2, "not a share"),
        (("--between", "text,image", "--method", "cross-attention"), 3, "--sequence"),
        (("--between", "text,image", "--anchor", "speech"), 2, "not aligned"),
    ],
)
def test_errors(
    run_here: Run, store: Path, tmp_path: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    done = run_here("align", "train", store, "-o", "x", *words)
    assert done.returncode == code, done.stderr
    lines = done.stderr.strip().splitlines()
    assert says in done.stderr and lines[-2].startswith("error: ")
    assert lines[-1].startswith("hint: ") and "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


def test_a_nan_is_found_with_its_row(run_here: Run, tmp_path: Path) -> None:
    planted(tmp_path / "s", shards=1)
    file = tmp_path / "s/image-00000.safetensors"
    arrays = {n: a.copy() for n, a in load_file(file).items()}
    arrays["embeddings"][17, 3] = np.nan
    save_file(arrays, file)
    manifest = json.loads((tmp_path / "s/manifest.json").read_text())
    for name in ("manifest_sha256", "versions", "files"):
        manifest.pop(name)  # as another program writes it
    (tmp_path / "s/manifest.json").write_text(json.dumps(manifest))
    done = run_here("align", "train", "s", "-o", "a", "--between", "text,image")
    assert done.returncode == 3, done.stderr
    assert "`image` of item `0-17` (row 17) holds NaN" in done.stderr
    applied = run_here(
        "align", "train", "s", "-o", "a", "--between", "text,image", "--method", "dual"
    )
    assert applied.returncode == 3


def test_too_little_to_train_on(run_here: Run, tmp_path: Path) -> None:
    planted(tmp_path / "never", rows=40, absent={"image": 1.0})
    done = run_here("align", "train", "never", "-o", "a", "--between", "text,image")
    assert done.returncode == 3 and "image" in done.stderr
    planted(tmp_path / "one", rows=1, shards=1)
    done = run_here("align", "train", "one", "-o", "a", "--between", "text,image", "--split-column",
               "cause")  # fmt: skip
    assert done.returncode == 3 and "hint: " in done.stderr


def test_a_store_of_other_making_is_refused(run_here: Run, store: Path, tmp_path: Path) -> None:
    assert (
        run_here("align", "train", store, "-o", "a", "--between", "text,image", "-q").returncode
        == 0
    )
    planted(tmp_path / "other", spaces={"image": "other@ba9876543210"})
    done = run_here("align", "apply", "a", "other", "-o", "out")
    assert done.returncode == 3
    assert "image@0123456789ab" in done.stderr and "other@ba9876543210" in done.stderr
    planted(tmp_path / "less", dims={"text": 16})
    partly = run_here("align", "apply", "a", "less", "-o", "out")
    assert partly.returncode == 0  # what is there is mapped


def test_hard_negatives_and_positives_by_column(run_here: Run, tmp_path: Path) -> None:
    planted(tmp_path / "s", twins=2)
    done = run_here(
        "align", "train", "s", "-o", "a", "--between", "text,image", "--method", "contrastive",
        "--hard-negatives", "2", "--positive-by", "cause", "--json", *FAST[:-1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["chosen"]["hard_negatives"] == 2
    assert "by cause" in report["splits"]


def test_a_store_is_not_aligned_onto_itself(run_here: Run, store: Path, tmp_path: Path) -> None:
    base = ("align", "train", store, "-o", "a", "--between", "text,image", "-q")
    assert run_here(*base, "--method", "linear:ridge").returncode == 0
    shutil.copytree(store, tmp_path / "s")
    (tmp_path / "link").symlink_to("s")
    before = (tmp_path / "s/manifest.json").read_bytes()
    for output in ("s", "link"):
        done = run_here("align", "apply", "a", "s", "-o", output, "--force")
        assert done.returncode == 3 and f"`-o {output}` is the input itself" in done.stderr
    assert (tmp_path / "s/manifest.json").read_bytes() == before
    assert run_here("verify", "s").returncode == 0
