"""Every strategy on every kind of network: it trains what it claims, and comes back from disk."""

import copy
from typing import Any

import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.tuning.registry import STRATEGIES
from mmcli.tuning.strategy import StrategyOptions, apply, fitting, restore
from tests.tuning.networks import CASES, Case, fresh, learn, torch

OPTIONS = StrategyOptions(rank=2, bottleneck=3, prompts=2)
PAIRS = [
    pytest.param(spec.name, case, id=f"{spec.name}-{name}")
    for spec in STRATEGIES
    for name, case in CASES.items()
    if spec.name not in case.unfit
]


MERGING = [p for p in PAIRS if STRATEGIES.get(str(p.values[0])).merges]


def outputs(network: Any, case: Case) -> Any:
    with torch.no_grad():
        return case.run(network)


def tuned_network(name: str, case: Case) -> tuple[Any, Any]:
    """A network and its strategy after two steps, far enough from the base to be told apart."""
    network = fresh(case)
    tuned = apply(name, network, OPTIONS)
    if tuned.trainable:
        tuned.keep_used(case.run(network))
    learn(network, case.run, lr=3e-2)
    return network, tuned


@pytest.mark.parametrize(("name", "case"), PAIRS)
def test_contract(name: str, case: Case) -> None:
    """Identity at first; what is claimed changes, and nothing else; it comes back; it merges."""
    network = fresh(case)
    own = {n for n, _ in network.named_parameters()}
    base = outputs(network, case)
    tuned = apply(name, network, OPTIONS)
    first = case.run(network)
    if name != "prompts":
        torch.testing.assert_close(first.detach(), base, rtol=1e-6, atol=1e-6)
    tuned.keep_used(first)
    before = {n: v.detach().clone() for n, v in network.state_dict().items()}
    learn(network, case.run)
    changed = {n for n, v in network.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == set(tuned.trainable)
    assert bool(changed) == (name != "probe")
    assert tuned.counts[0] == sum(before[n].numel() for n in changed)
    added = {n for n in tuned.trainable if n.replace(".base_layer.", ".") not in own}
    assert added == (changed if tuned.spec.adapter else set())

    learned = outputs(network, case)
    assert name == "probe" or float((base - learned).abs().max()) > 3e-4
    state = tuned.state()
    assert len(state) == len(changed)
    again = fresh(case)
    torch.manual_seed(99)  # what is drawn anew must not matter
    restored = restore(again, name, OPTIONS, state)
    torch.testing.assert_close(outputs(again, case), learned, rtol=0, atol=1e-6)
    assert restored.mergeable == (tuned.spec.merges or not tuned.spec.adapter)


@pytest.mark.parametrize(("name", "case"), MERGING)
def test_a_merged_network_is_a_plain_one_with_the_same_outputs(name: str, case: Case) -> None:
    network, tuned = tuned_network(name, case)
    learned = outputs(network, case)
    tuned.merge()
    torch.testing.assert_close(outputs(network, case), learned, rtol=1e-5, atol=1e-5)
    plain = fresh(case)
    assert {n: p.shape for n, p in network.named_parameters()} == {
        n: p.shape for n, p in plain.named_parameters()
    }
    assert not any(p.requires_grad for p in network.parameters())
    differ = {
        n for (n, p), q in zip(network.named_parameters(), plain.parameters(), strict=True)
        if not torch.equal(p, q)
    }  # fmt: skip
    assert len(tuned.state()) == len(differ)
    restore(plain, "full", OPTIONS, tuned.state())
    torch.testing.assert_close(outputs(plain, case), learned, rtol=1e-5, atol=1e-5)
    apply(name, network, OPTIONS)  # and it can be tuned again
    torch.testing.assert_close(outputs(network, case), learned, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [s.name for s in STRATEGIES])
def test_a_wrapped_layer_leaves_no_trace_on_disk(name: str) -> None:
    wrapped, plain = CASES["clip class token"], CASES["clip vision"]
    network, tuned = tuned_network(name, wrapped)
    again = fresh(plain)
    restore(again, name, OPTIONS, tuned.state())
    torch.testing.assert_close(outputs(again, plain), outputs(network, wrapped), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["lora", "adapters", "prompts"])
def test_a_copy_is_its_own_network(name: str) -> None:
    case = CASES["vit"]
    network, _ = tuned_network(name, case)
    before = outputs(network, case)
    copied = copy.deepcopy(network)
    learn(network, case.run)
    torch.testing.assert_close(outputs(copied, case), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["full", "bitfit", "lora", "adapters"])
def test_batch_norms_keep_their_statistics(name: str) -> None:
    from tests.tuning.networks import efficientnet_with_norms, run_timm

    case = Case(efficientnet_with_norms, run_timm, 7)
    network = fresh(case).train()
    tuned = apply(name, network, OPTIONS)
    before = {n: b.clone() for n, b in network.named_buffers()}
    learn(network.train(), case.run)
    assert all(torch.equal(b, before[n]) for n, b in network.named_buffers())
    assert not tuned.state().keys() & before.keys()


def test_prompts_work_with_masks_that_are_added() -> None:
    """Attention by hand takes a mask of numbers, torch's own one of truth values."""
    case = CASES["bert"]
    network, _ = tuned_network("prompts", case)
    fast = outputs(network, case)
    network.set_attn_implementation("eager")
    torch.testing.assert_close(outputs(network, case), fast, rtol=0, atol=1e-5)


def test_each_layer_of_a_prompted_network_gives_its_own_tokens() -> None:
    case = CASES["bert"]
    network = fresh(case)
    apply("prompts", network, OPTIONS)
    ids = torch.tensor([[2, 9, 4]])
    found = network(input_ids=ids, output_hidden_states=True)
    assert [tuple(s.shape) for s in found.hidden_states] == [(1, 3, 16)] * 4
    torch.testing.assert_close(found.hidden_states[-1], found.last_hidden_state)


def test_padding_is_nothing_to_a_prompted_network() -> None:
    network = fresh(CASES["bert"])
    apply("prompts", network, OPTIONS)
    alone = network(input_ids=torch.tensor([[2, 9, 4]])).last_hidden_state
    padded = network(
        input_ids=torch.tensor([[2, 9, 4, 0]]), attention_mask=torch.tensor([[1, 1, 1, 0]])
    ).last_hidden_state[:, :3]
    torch.testing.assert_close(padded, alone, rtol=0, atol=1e-6)


def test_words_see_the_prompts_of_a_causal_network_and_no_later_word() -> None:
    network = fresh(CASES["clip text"]).text_model
    tuned = apply("prompts", network, OPTIONS)
    first = network(input_ids=torch.tensor([[2, 9, 1]])).last_hidden_state
    other = network(input_ids=torch.tensor([[2, 9, 5]])).last_hidden_state
    torch.testing.assert_close(first[:, :2], other[:, :2], rtol=0, atol=1e-6)
    grads = torch.autograd.grad(
        first[:, 0].square().sum(), [dict(network.named_parameters())[n] for n in tuned.trainable]
    )
    assert all(float(g.abs().max()) > 0 for g in grads)


@pytest.mark.parametrize("name", list(CASES))
def test_strategies_that_fit(name: str) -> None:
    case = CASES[name]
    unfit = set(STRATEGIES.names()) - set(fitting(fresh(case)))
    assert unfit == set(case.unfit)


def test_a_strategy_that_does_not_fit_names_those_that_do() -> None:
    network = fresh(CASES["efficientnet"]).requires_grad_(True)
    with pytest.raises(UsageError) as caught:
        apply("prompts", network, label="efficientnet-lite0")
    assert caught.value.message.startswith(
        "the strategy `prompts` does not fit `efficientnet-lite0`: "
    )
    able = [n for n in STRATEGIES.names() if n != "prompts"]
    assert caught.value.hint == f"these do: {', '.join(able)}"
    assert all(p.requires_grad for p in network.parameters()), "a refusal changes nothing"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("last-n", "no layers"),
        ("gradual", "no layers"),
        ("bitfit", "no biases"),
        ("lora", "no linear maps"),
        ("dora", "no linear maps"),
        ("ia3", "no keys and values"),
        ("adapters", "no sub-layers"),
        ("prompts", "do not attend"),
    ],
)
def test_a_network_without_the_parts(name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        apply(name, torch.nn.Linear(3, 2, bias=False))


def test_attention_by_windows_takes_no_prompts() -> None:
    import timm

    with torch.device("meta"):
        network = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0)
    assert "prompts" not in fitting(network)
    assert {"lora", "adapters"} <= set(fitting(network))


def test_refusals() -> None:
    case = CASES["bert"]
    network, tuned = tuned_network("adapters", case)
    with pytest.raises(UsageError, match="`adapters` adds cannot be merged"):
        tuned.merge()
    with pytest.raises(UsageError, match="tuned by `adapters` already") as caught:
        apply("lora", network)
    assert caught.value.hint.endswith("can be merged: lora, dora, ia3")
    network, _ = tuned_network("ia3", case)
    with pytest.raises(UsageError, match="tuned by `ia3` already") as caught:
        apply("full", network)
    assert caught.value.hint == "merge that into its base first"
    state = tuned.state()
    name = next(iter(state))
    with pytest.raises(BadInput, match="is of shape"):
        restore(fresh(case), "adapters", StrategyOptions(bottleneck=4), state)
    with pytest.raises(BadInput, match="lacks"):
        restore(fresh(case), "adapters", OPTIONS, {n: v for n, v in state.items() if n != name})
    with pytest.raises(BadInput, match="which the tower has not"):
        restore(fresh(case), "lora", OPTIONS, state)
    with pytest.raises(UsageError, match="no tuning strategy") as caught:
        apply("lorra", fresh(case))
    assert "`lora`" in caught.value.hint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("last_n", 0),
        ("rank", 0),
        ("bottleneck", -1),
        ("prompts", 0),
        ("alpha", 0.0),
        ("dropout", 1.0),
        ("dropout", -0.1),
    ],
)
def test_sizes_out_of_range(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"--{field.replace('_', '-')}"):
        StrategyOptions(**{field: value})  # type: ignore[arg-type]


def test_weights_that_are_standardised_get_no_updates() -> None:
    """W + B A standardised is not W standardised + B A, so such a layer could not be merged."""
    import timm

    network = timm.create_model("test_nfnet", num_classes=0)
    tuned = apply("lora", network)
    adapted = {type(network.get_submodule(n.rpartition(".lora_")[0])) for n in tuned.trainable}
    assert {type(m).__name__ for m in network.modules()} >= {"ScaledStdConv2d"}
    assert {kind.__mro__[1].__name__ for kind in adapted} == {"_ConvNd"}
    assert all(".attn_last." in n for n in tuned.trainable), "only those of squeeze and excitation"
