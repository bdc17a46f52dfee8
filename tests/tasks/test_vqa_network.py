"""The votes of patches: the formula in numpy, rows that share pictures, padding, what is absent."""

from typing import Any

import numpy as np
import pytest

from mmcli.align.pair_model import Side
from mmcli.core.errors import UsageError
from mmcli.fusion.registry import METHODS
from mmcli.tasks.vqa_fusion import Fused, FusedShape, fusion_of
from mmcli.tasks.vqa_network import Votes, VotesShape, torch

IMAGE, TEXT = Side("image", "image", 6, 9, 3), Side("text", "text", 5, 4)


def votes(noise: float = 0.0) -> Any:
    torch.manual_seed(0)
    shape = VotesShape(IMAGE, TEXT, 4, width=8, dim=6, heads=2, dropout=0.0, noise=noise)
    return Votes(shape).eval()


def tokens(rows: int = 3) -> dict[str, Any]:
    torch.manual_seed(1)
    real = torch.ones(rows, 4, dtype=torch.bool)
    real[1, 2:] = False
    return {
        "image": (torch.randn(rows, 9, 6), torch.ones(rows, 9, dtype=torch.bool)),
        "text": (torch.randn(rows, 4, 5) * real[..., None], real),
    }


def test_votes_as_written() -> None:
    """log sum exp over patches of scaled products, of each answer and of the question itself."""
    network, x = votes(), tokens()
    with torch.no_grad():
        found = network(x).numpy()
        states = network.text(*x["text"]).numpy()
        patches = network.image.tokens(network.image(*x["image"])).numpy()
        real = x["text"][1].numpy()
        weights = {n: v.numpy() for n, v in network.state_dict().items()}

    def linear(name: str, value: np.ndarray) -> np.ndarray:
        return value @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def gelu(value: np.ndarray) -> np.ndarray:
        from math import erf

        return value * 0.5 * (1 + np.vectorize(erf)(value / np.sqrt(2)))

    def unit(value: np.ndarray) -> np.ndarray:
        return value / np.linalg.norm(value, axis=-1, keepdims=True)

    scale = np.exp(weights["log_scale"])
    for row in range(3):
        mean = states[row][real[row]].mean(0)
        q = (mean - mean.mean()) / np.sqrt(mean.var() + 1e-5)
        q = q * weights["norm.weight"] + weights["norm.bias"]
        wanted = weights["answers"] * (1 + linear("scales", q)) + linear("shifts", q)
        looks = unit(linear("look", gelu(wanted)))
        shown = np.log(np.exp(scale * (looks @ patches[row].T)).sum(1))
        met = np.log(np.exp(scale * (unit(linear("match", q)) @ patches[row].T)).sum())
        logits = shown + linear("gate", q) * met + weights["bias"]
        assert found[row] == pytest.approx(logits, abs=1e-3)


@pytest.mark.parametrize("make", [votes, lambda: fused("hybrid:bilinear")])
def test_shared_pictures_and_absent_parts(make: Any) -> None:
    """A row's logits are its own, whoever shares its picture; -1 is as good as not giving it."""
    network, x = make(), tokens()
    picks = {"image": torch.tensor([2, 0, 0, -1]), "text": torch.tensor([1, 1, 2, 0])}
    with torch.no_grad():
        found = network(x, picks)
        for row, (picture, question) in enumerate(zip(*map(list, picks.values()), strict=True)):
            alone = {"text": tuple(part[question][None] for part in x["text"])}
            if picture >= 0:
                alone["image"] = tuple(part[picture][None] for part in x["image"])
            assert torch.allclose(network(alone)[0], found[row], atol=1e-4)
        asked_nothing = network({"image": x["image"]})
        assert asked_nothing.shape == (3, 4) and torch.isfinite(asked_nothing).all()


def test_padding_changes_nothing() -> None:
    network, x = votes(), tokens()
    values, real = x["text"]
    longer = (
        torch.cat([values, torch.randn(3, 3, 5)], 1),
        torch.cat([real, torch.zeros(3, 3, dtype=torch.bool)], 1),
    )
    with torch.no_grad():
        assert torch.allclose(network(x), network({**x, "text": longer}), atol=1e-4)


def test_noise_is_of_training_only() -> None:
    network, x = votes(noise=1.0), tokens()
    with torch.no_grad():
        assert torch.equal(network(x), network(x))
        network.train()
        assert not torch.allclose(network(x), network(x))


def test_every_weight_learns() -> None:
    network, x = votes(), tokens()
    picks = {"image": torch.tensor([0, 1, -1]), "text": torch.tensor([0, -1, 2])}
    network(x, picks).square().sum().backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_shape_comes_back() -> None:
    network = votes()
    assert VotesShape.from_json(network.shape.to_json()) == network.shape


def fused(method: str) -> Any:
    torch.manual_seed(0)
    return Fused(FusedShape(method, IMAGE, TEXT, 4, width=8)).eval()


@pytest.mark.parametrize(
    "method", [s.name for s in METHODS if not s.experts and s.view in ("pooled", "tokens")]
)
def test_every_fusion_that_reads_both(method: str) -> None:
    network = fused(method)
    found = network(tokens())
    assert found.shape == (3, 4) and torch.isfinite(found).all()
    found.sum().backward()


@pytest.mark.parametrize("method", ["late:mean", "hybrid:multi-level", "early:as-text"])
def test_fusions_that_do_not(method: str) -> None:
    with pytest.raises(UsageError, match=method):
        fusion_of(method)
