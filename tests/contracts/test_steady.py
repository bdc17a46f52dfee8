"""Rows of a layer have the same bits whatever their number, at the widths that real models have."""

import pytest

from mmcli.encoders.steady import LEAST_ROWS, LEAST_TOKENS, steady
from mmcli.engine.fast_linear import PackedLinear, applies
from mmcli.engine.torch_stack import load_torch
from tests.contracts.conftest import BF16

torch = load_torch()
WIDTHS = [(768, 768), (768, 3072), (3072, 768), (1024, 1024)]


@pytest.mark.parametrize(("wide", "out"), WIDTHS)
def test_bf16_rows(wide: int, out: int) -> None:
    """As many as `steady` fills up to, some more, and very many."""
    if not applies(BF16):
        pytest.skip("this CPU has no bf16")
    torch.manual_seed(0)
    layer = PackedLinear(torch.nn.Linear(wide, out))
    rows = torch.randn(4096, wide).bfloat16()
    with torch.inference_mode():
        expected = layer(rows)
        for count in (1, 16, 20, 33, 100, 700, LEAST_TOKENS, LEAST_TOKENS + 56, 2112):
            assert torch.equal(steady(layer, rows[:count]), expected[:count]), count


def test_fp32_rows() -> None:
    torch.manual_seed(0)
    layer, rows = torch.nn.Linear(768, 512), torch.randn(2048, 768)
    with torch.inference_mode():
        expected = layer(rows)
        for count in (1, 3, 11, LEAST_ROWS, 33):
            assert torch.equal(steady(layer, rows[:count]), expected[:count]), count
