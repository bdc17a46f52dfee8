"""The list of strategies: read without torch, complete, each with an example that runs."""

import subprocess
import sys

import pytest

from mmcli.core.registry import load_attribute
from mmcli.tuning.registry import STRATEGIES, StrategySpec

WANTED = "full probe last-n gradual bitfit lora dora ia3 adapters prompts"


def test_listing_imports_no_torch() -> None:
    code = (
        "import sys; from mmcli.tuning.registry import STRATEGIES; print(*STRATEGIES.names());"
        "sys.exit('torch' in sys.modules or 'peft' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, WANTED)


@pytest.mark.parametrize("spec", list(STRATEGIES), ids=lambda spec: spec.name)
def test_entries_are_whole(spec: StrategySpec) -> None:
    assert all((spec.summary, spec.trains, spec.formula, spec.paper))
    assert not spec.merges or spec.adapter
    assert not spec.peft or spec.merges
    assert callable(load_attribute(spec.apply))
    assert not spec.check or callable(load_attribute(spec.check))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("full", "13,056 of 13,056"),
        ("probe", "0 of 13,056"),
        # rank 2, three layers of qkv (16 to 48), proj (16 to 16), fc1 (16 to 64), fc2 (64 to 16)
        ("lora", f"{3 * 2 * (64 + 32 + 80 + 80):,} of"),
        ("prompts", f"{3 * 3 * 16} of"),
        ("ia3", f"{3 * (48 + 64)} of"),
        ("adapters", f"{3 * 2 * (16 * 4 + 4 + 4 * 16 + 16)} of"),
        ("gradual", "in epochs 1 to 4 learn"),
    ],
)
def test_examples_count_what_learns(name: str, wanted: str) -> None:
    lines = load_attribute(STRATEGIES.get(name).example)()
    assert any(wanted in line for line in lines)
    held = [line for line in lines if "before the first step" in line]
    assert (held[0].split("are ")[1] == "those of the base") == (name != "prompts")
