"""Where a model runs and in what precision: decisions only, taken from facts that a test can give.

Measured on CPUs only; the GPU rules are written down and unit-tested, nobody has timed them here.
"""

import re
from dataclasses import dataclass
from typing import Any

from mmcli.core.errors import MissingResource, UsageError

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:[0-9]+)?")


@dataclass(frozen=True)
class Hardware:
    """What this machine has, as far as the decisions below care."""

    cuda_devices: int = 0
    cuda_bf16: bool = False
    mps: bool = False
    cpu_bf16: bool = False


@dataclass(frozen=True)
class Placement:
    """A device and a compute type, as torch names them (`cuda:0`, `bfloat16`)."""

    device: str
    dtype: str

    @property
    def precision(self) -> str:
        return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[self.dtype]


def probe() -> Hardware:
    """The hardware of this machine, by torch."""
    from mmcli.engine.torch_stack import load_torch

    torch = load_torch()
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Hardware(
        cuda_devices=cuda,
        cuda_bf16=bool(cuda) and torch.cuda.is_bf16_supported(),
        mps=torch.backends.mps.is_available(),
        cpu_bf16=cpu_computes_bf16(torch),
    )


def cpu_computes_bf16(torch: Any) -> bool:
    """Whether this CPU multiplies bf16 natively (AVX512-BF16 or AMX)."""
    return any(
        getattr(torch.cpu, name, bool)()
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def check_words(device: str, precision: str) -> None:
    """Raise UsageError when `--device` or `--precision` is a word that no machine knows."""
    if not _DEVICE.fullmatch(device):
        raise UsageError(f"`--device {device}` is unknown", "use auto, cpu, cuda, cuda:N or mps")
    if precision not in ("auto", "fp32", "bf16", "fp16"):
        raise UsageError(f"`--precision {precision}` is unknown", "use auto, fp32, bf16 or fp16")


def place(device: str, precision: str, hardware: Hardware) -> Placement:
    """Turn `--device` and `--precision` into a placement.

    Raises UsageError for a word it does not know, MissingResource for a device that is not there.
    """
    check_words(device, precision)
    kind, _, number = device.partition(":")
    if kind == "auto":
        kind = "cuda" if hardware.cuda_devices else "mps" if hardware.mps else "cpu"
    if kind == "cuda" and int(number or 0) >= hardware.cuda_devices:
        raise MissingResource(
            f"`--device {device}`: this machine has {hardware.cuda_devices} CUDA devices",
            "use `--device auto`, and see `mmcli doctor`",
        )
    if kind == "mps" and not hardware.mps:
        raise MissingResource("`--device mps`: there is none", "use `--device auto`")
    name = f"cuda:{int(number or 0)}" if kind == "cuda" else kind
    return Placement(name, _dtype(kind, precision, hardware))


def _dtype(kind: str, precision: str, hardware: Hardware) -> str:
    if precision == "fp16" and kind == "cpu":
        raise UsageError("`--precision fp16` needs a GPU", "use bf16 or fp32 on a CPU")
    if precision == "auto":
        native = hardware.cuda_bf16 if kind == "cuda" else kind == "cpu" and hardware.cpu_bf16
        precision = "bf16" if native else "fp32"
    return {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[precision]
