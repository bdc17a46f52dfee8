"""Decoded recordings at the rate that speech models take. Knows no model.

torchaudio is used for its resampling kernel alone; files are decoded elsewhere.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from mmcli.core.errors import MissingResource
from mmcli.data.recipes import AudioRecipe, Waveform
from mmcli.engine.torch_stack import load_torch

RATE_HZ = 16_000
RECIPE = AudioRecipe()
#: Odd rates are taken as the nearest multiple of this: a rate that shares no factor with 16,000
#: would need a filter bank of gigabytes. The pitch changes by 0.13 % at most from 8 kHz up.
_RATE_STEP_HZ = 20


def load_torchaudio() -> Any:
    """The torchaudio module. Raises MissingResource when it is not installed."""
    load_torch()
    try:
        import torchaudio
    except ImportError as error:
        raise MissingResource(
            f"torchaudio cannot be imported: {error}".split("\n")[0],
            "pip install torchaudio beside the torch that is there",
        ) from error
    return torchaudio


def at_16_khz(wave: Waveform) -> np.ndarray:
    """Samples `(n,)` float32 at 16 kHz, at least one."""
    return at_rate(wave, RATE_HZ)


def at_rate(wave: Waveform, rate_hz: int) -> np.ndarray:
    """Samples `(n,)` float32 at a rate, at least one."""
    samples = np.ascontiguousarray(wave.samples, np.float32)
    rate = max(_RATE_STEP_HZ, round(wave.rate_hz / _RATE_STEP_HZ) * _RATE_STEP_HZ)
    if rate != rate_hz and len(samples):
        torch = load_torch()
        resampled: np.ndarray = _resampler(rate, rate_hz)(torch.from_numpy(samples)).numpy()
        samples = resampled
    return samples if len(samples) else np.zeros(1, np.float32)


@lru_cache(maxsize=8)
def _resampler(rate_hz: int, wanted_hz: int) -> Any:
    return load_torchaudio().transforms.Resample(rate_hz, wanted_hz)
