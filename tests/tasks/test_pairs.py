"""`finetune --task retrieval` and `pretrain`: losses, learning, and words that do not fit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmcli.align.tower import Tower as Head
from mmcli.core.errors import BadInput, MmcliError, UsageError
from mmcli.tasks.pairs import Joint, PairNetwork, signed_root
from mmcli.tasks.pairs_losses import Weights, masked, match_logits, pair_losses, wrong_partners
from mmcli.workflows.finetune.config import FinetuneConfig, TrickOptions
from mmcli.workflows.finetune.run import finetune
from tests.fusion.making import splits, write_store

NOISE = 0.3


# -- what is learned, on numbers -----------------------------------------------------------------


def unit_rows(rows: int, dim: int, seed: int) -> torch.Tensor:
    values = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(values, dim=1)


def network_of(dim: int, joint: Joint | None = None) -> PairNetwork:
    heads = {name: Head((), dim) for name in ("text", "image")}
    return PairNetwork(heads, {n: frozenset() for n in heads}, temperature=0.1, joint=joint)


def test_contrast_is_cross_entropy_of_rows_and_columns() -> None:
    a, b = unit_rows(6, 4, 0), unit_rows(6, 4, 1)
    found = pair_losses(network_of(4), a, b, None, {}, Weights())
    logits, own = 10 * a @ b.T, torch.arange(6)
    both = [torch.nn.functional.cross_entropy(x, own) for x in (logits, logits.T)]
    assert set(found) == {"loss"}
    assert found["loss"].item() == pytest.approx(float(sum(both)) / 2, abs=1e-5)


def test_wrong_partners_are_drawn_by_a_softmax_of_those_that_are_wrong() -> None:
    scores = torch.tensor([[9.0, 3.0, 1.0], [2.0, 8.0, 5.0], [4.0, 0.0, 7.0]])
    torch.manual_seed(0)
    drawn = torch.stack([wrong_partners(scores, None).number for _ in range(400)])
    assert not (drawn == torch.arange(3)).any()
    share = float((drawn[:, 0] == 1).float().mean())
    assert share == pytest.approx(np.exp(3) / (np.exp(3) + np.exp(1)), abs=0.07)
    groups = torch.tensor([0, 0, 1])
    found = wrong_partners(scores, groups)
    assert found.number[:2].tolist() == [2, 2] and found.there.all()
    assert not wrong_partners(scores, torch.zeros(3)).there.any()


def test_the_joint_head_by_its_definition() -> None:
    torch.manual_seed(0)
    joint = Joint(4, {"text": 3, "image": 2}, hidden=8).eval()
    a, b = unit_rows(5, 4, 2), unit_rows(5, 4, 3)
    x, y = 2 * a, 2 * b  # sqrt(4)
    cosine = 2 * (a * b).sum(1, keepdim=True)
    state = joint.mix(torch.cat([x, y, x * y, (x - y).abs(), cosine], dim=1))
    assert torch.allclose(joint.matches(a, b), joint.match(state).squeeze(1))
    own, wrong = match_logits(joint, a, b, torch.tensor(5.0), None)
    assert own.shape == (5,) and wrong.shape == (10,)
    targets = {"text": torch.randn(5, 3), "image": torch.randn(5, 2)}
    blank = torch.zeros(5, 4)
    errors = [
        (joint.restore[n](joint.state(*pair)) - targets[n]).square().mean()
        for n, pair in (("text", (blank, b)), ("image", (a, blank)))
    ]
    assert torch.allclose(masked(joint, a, b, ("text", "image"), targets), sum(errors) / 2)


def test_the_losses_are_weighed_and_those_of_no_weight_left_out() -> None:
    torch.manual_seed(0)
    joint = Joint(4, {"text": 3, "image": 2})
    a, b = unit_rows(5, 4, 2), unit_rows(5, 4, 3)
    targets = {"text": torch.randn(5, 3), "image": torch.randn(5, 2)}
    network = network_of(4, joint).eval()
    found = pair_losses(network, a, b, None, targets, Weights(matching=0.5, masked=2.0))
    total = found["contrastive"] + 0.5 * found["matching"] + 2 * found["masked"]
    assert torch.allclose(found["loss"], total)
    assert "masked" not in pair_losses(network, a, b, None, targets, Weights(1.0, 0.0))


def test_a_signed_root_has_a_gradient_everywhere() -> None:
    x = torch.tensor([-4.0, 0.0, 1e-9, 9.0], requires_grad=True)
    y = signed_root(x)
    assert torch.equal(y.detach(), x.detach().sign() * x.detach().abs().sqrt())
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([0.25, 0.0, 0.0, 1 / 6], abs=1e-6)


# -- a store of vectors whose truth is known -----------------------------------------------------


def planted(path: Path, rows: int = 400) -> tuple[Path, float]:
    """Six numbers that both parts show, each turned its own way among as many of its own.

    The second value is the hit@1 of who knows the turns, over test rows and both directions.
    """
    rng = np.random.default_rng(0)
    shared, vectors, seen = rng.standard_normal((rows, 6)), {}, {}
    for name, dim in (("text", 12), ("image", 16)):
        turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
        seen[name] = shared + NOISE * rng.standard_normal(shared.shape)
        own = rng.standard_normal((rows, dim - 6))
        vectors[name] = np.concatenate([seen[name], own], axis=1) @ turn
    split = splits(rows, 0.6, 0.2)
    store = write_store(path, vectors, {"split": split})
    test = [i for i, name in enumerate(split) if name == "test"]
    hits = []
    for a, b in (("text", "image"), ("image", "text")):
        expected = seen[a][test] / (1 + NOISE**2)  # of the other part, given this one
        far = ((expected[:, None] - seen[b][test][None]) ** 2).sum(-1)
        hits.append((far.argmin(1) == np.arange(len(test))).mean())
    return store, float(np.mean(hits))


def on_store(path: Path, output: Path, task: str, **told: Any) -> FinetuneConfig:
    tricks = TrickOptions(**{"epochs": 60, "batch": 60, "head_lr": 0.02, **told.pop("tricks", {})})
    return FinetuneConfig(
        **{"task": task, "data": str(path), "output": str(output), "quality": "fast",
           "precision": "fp32", "tricks": tricks, **told}
    )  # fmt: skip


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    return planted(tmp_path_factory.mktemp("planted") / "store")


@pytest.fixture(scope="module")
def store(known: tuple[Path, float]) -> Path:
    return known[0]


def test_retrieval_finds_what_both_parts_show(known: tuple[Path, float], tmp_path: Path) -> None:
    store, best_possible = known
    report = finetune(on_store(store, tmp_path / "m", "retrieval", seeds=2, tricks={"epochs": 40}))
    rows = {row["model"]: row for row in report["table"]}
    assert set(rows) == {"linear:ridge", "retrieval"}  # nothing is shared before
    assert 0.8 < best_possible < 1  # chance is 1 / 80
    assert rows["retrieval"]["hit@1"] > 0.65 * best_possible
    assert rows["retrieval"]["mrr"] > rows["linear:ridge"]["mrr"] - 0.02
    assert report["rows"] == {"train": 240, "val": 80, "test": 80, "scored": 80}
    assert rows["retrieval"]["low"] < rows["retrieval"]["hit@1"] < rows["retrieval"]["high"]
    assert [set(r) >= {"seed", "hit@1", "val score"} for r in report["seeds_scores"]] == [True] * 2
    best = max(report["seeds_scores"], key=lambda row: row["val score"])
    assert report["kept_seed"] == best["seed"]
    assert {v["against"] for v in report["verdicts"]} == {"linear:ridge"}
    assert (tmp_path / "m" / "report.html").read_text().count("<svg") >= 2


def test_pretraining_learns_all_three(store: Path, tmp_path: Path) -> None:
    """Six of twelve (of sixteen) coordinates can be given back, less what noise took."""
    report = finetune(on_store(store, tmp_path / "m", "pretrain", tricks={"epochs": 40}))
    worth = report["worth"]
    assert worth["own above any"] > max(0.7, worth["own above hard"]) > 0.55
    most = {n: 6 / 1.09 / (6 * 1.09 + own) for n, own in (("text", 6), ("image", 10))}
    assert 0.4 * most["text"] < worth["restored text"] < most["text"] + 0.05
    assert 0.4 * most["image"] < worth["restored image"] < most["image"] + 0.05
    assert worth["loss"] == pytest.approx(
        worth["contrastive"] + worth["matching"] + worth["masked"], abs=1e-4
    )
    records = [json.loads(line) for line in (tmp_path / "m" / "history.jsonl").open()]
    assert records[-1]["loss"] < records[0]["loss"]
    assert {"contrastive", "matching", "masked", "score"} <= set(records[0])


def test_rows_that_say_nothing_and_rows_of_one_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    vectors = {n: rng.standard_normal((40, 5)) for n in ("text", "image")}
    vectors["text"][3] = 0.0
    columns = {"text": [f"words {i // 2}" for i in range(40)], "split": splits(40)}
    path = write_store(tmp_path / "s", vectors, columns)
    report = finetune(on_store(path, tmp_path / "m", "retrieval", dry_run=True))
    assert report["rows"] == {"train": 19, "val": 8, "test": 12}
    vectors["text"][20:] = np.repeat(vectors["text"][20::2], 2, axis=0)
    vectors["image"] = vectors["text"]
    path = write_store(tmp_path / "twins", vectors, columns)
    told = on_store(path, tmp_path / "m", "retrieval", tricks={"epochs": 1, "head_lr": 1e-9})
    told = replace(told, options={"width": 0})
    report = finetune(told)
    assert report["positives"] == "rows of one text"
    row = next(r for r in report["table"] if r["model"] == "linear:ridge")
    assert row["hit@1"] >= 0.9  # either of the twins is right


@pytest.mark.parametrize(
    ("told", "error", "words"),
    [
        ({"label": "place"}, UsageError, "--label"),
        ({"tricks": {"mixup": 0.5}}, UsageError, "--mixup"),
        ({"options": {"temprature": "1"}}, UsageError, "temprature"),
        ({"options": {"match": "much"}}, UsageError, "match=much"),
        ({"options": {"temperature": "0"}}, UsageError, "temperature=0"),
        ({"options": {"between": "text+smell"}}, UsageError, "smell"),
        ({"options": {"between": "text"}}, UsageError, "between=text"),
        ({"options": {"between": ("text", "speech")}}, BadInput, "speech"),
        ({"options": {"positive_by": "mood"}}, BadInput, "mood"),
        ({"only": ("text",)}, BadInput, "two parts"),
        ({"strategy": {"": "lore"}}, UsageError, "lore"),
    ],
)
def test_words_that_do_not_fit_are_one_line(
    store: Path, tmp_path: Path, told: Any, error: type[MmcliError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        finetune(on_store(store, tmp_path / "m", "retrieval", **told))
    assert "\n" not in caught.value.message
    assert not (tmp_path / "m").exists()
