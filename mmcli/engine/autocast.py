"""The context in which a network learns and is applied: products in the run's precision."""

from typing import Any

from mmcli.engine.torch_stack import load_torch


def autocast(device: str, dtype: str) -> Any:
    """Autocast to a type, named as torch names it, on a device; none where it is float32."""
    torch = load_torch()
    low = getattr(torch, dtype)
    return torch.autocast(device.partition(":")[0], low, enabled=low != torch.float32)
