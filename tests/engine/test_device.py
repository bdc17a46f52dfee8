"""Device and precision are decided from facts, so a machine nobody has here can be tested."""

import pytest

from mmcli.core.errors import MissingResource, UsageError
from mmcli.engine.device import Hardware, place

GPU = Hardware(cuda_devices=2, cuda_bf16=True)
OLD_GPU = Hardware(cuda_devices=1, cuda_bf16=False)


@pytest.mark.parametrize(
    ("device", "precision", "hardware", "expected"),
    [
        ("auto", "auto", Hardware(cpu_bf16=True), ("cpu", "bfloat16")),
        ("auto", "auto", Hardware(), ("cpu", "float32")),
        ("auto", "auto", GPU, ("cuda:0", "bfloat16")),
        ("auto", "auto", OLD_GPU, ("cuda:0", "float32")),
        ("cuda:1", "fp16", GPU, ("cuda:1", "float16")),
        ("cpu", "auto", GPU, ("cpu", "float32")),
        ("auto", "auto", Hardware(mps=True), ("mps", "float32")),
        ("cpu", "bf16", Hardware(), ("cpu", "bfloat16")),
    ],
)
def test_placement(
    device: str, precision: str, hardware: Hardware, expected: tuple[str, str]
) -> None:
    chosen = place(device, precision, hardware)
    assert (chosen.device, chosen.dtype) == expected


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(MissingResource, match="0 CUDA"):
        place("cuda", "auto", Hardware())
    with pytest.raises(MissingResource, match="2 CUDA"):
        place("cuda:2", "auto", GPU)
    with pytest.raises(UsageError):
        place("gpu", "auto", GPU)
    with pytest.raises(UsageError, match="fp16"):
        place("cpu", "fp16", Hardware())
