"""Recomputed layers: gradients are those of the plain network, and layers do run twice."""

from typing import Any

import pytest

from mmcli.core.errors import UsageError
from mmcli.tuning.checkpointing import checkpointed
from mmcli.tuning.layers import find_layers
from mmcli.tuning.strategy import StrategyOptions, apply
from tests.tuning.networks import CASES, Case, fresh, torch


def _gradients(network: Any, case: Case) -> tuple[dict[str, Any], int, int]:
    """Gradients by name; how often a part of the layers ran; bytes kept for the backward pass."""
    runs = 0
    kept: dict[int, int] = {}

    def count(*_: Any) -> None:
        nonlocal runs
        runs += 1

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks = [
        next(m for m in layer.body.modules() if not list(m.children())).register_forward_hook(count)
        for layer in find_layers(network)
    ]
    torch.manual_seed(4)  # for dropout
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda held: held):
        loss = case.run(network).square().sum()
    loss.backward()
    for hook in hooks:
        hook.remove()
    grads = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    return grads, runs, sum(kept.values())


PAIRS = [("full", name, "evaluation") for name in CASES]
PAIRS += [("full", name, "training") for name in ("bert", "clip class token", "efficientnet")]
PAIRS += [("lora", name, "training") for name in ("bert", "clip class token", "efficientnet")]
PAIRS += [("prompts", name, "training") for name in ("bert", "clip class token", "vit")]


@pytest.mark.parametrize(("strategy", "name", "mode"), PAIRS)
def test_gradients_are_the_same_for_less_memory(strategy: str, name: str, mode: str) -> None:
    case = CASES[name]
    results = []
    for again in (False, True):
        network = fresh(case)
        torch.manual_seed(7)
        apply(strategy, network, StrategyOptions(rank=2, prompts=2))
        if again:
            assert checkpointed(checkpointed(network)) is network
        results.append(_gradients(network.train(mode == "training"), case))
    (wanted, once, held), (found, twice, held_less) = results
    assert found.keys() == wanted.keys() and wanted
    for parameter, grad in wanted.items():
        torch.testing.assert_close(found[parameter], grad, rtol=1e-5, atol=1e-6)
    assert (once, twice) == (case.depth, 2 * case.depth)
    assert held_less < held


def test_nothing_is_recomputed_without_gradients() -> None:
    case = CASES["vit"]
    network = fresh(case)
    with torch.no_grad():
        wanted = case.run(network)
        found = case.run(checkpointed(network))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert network.state_dict().keys() == fresh(case).state_dict().keys()


def test_a_network_without_layers() -> None:
    with pytest.raises(UsageError, match="no layers to recompute"):
        checkpointed(torch.nn.Linear(2, 2))
