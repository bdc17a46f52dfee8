"""Log-mel and MFCC statistics of a recording: no weights, plain signal processing by torchaudio.

Pooled: mean and deviation over time of the coefficients, then of their deltas. Frames of 25 ms
every 10 ms at 16 kHz. Source of the deltas: Furui 1986, as in torchaudio's ComputeDeltas.
"""

import hashlib
import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmcli.core.types import EncoderCard, Output, Prepared
from mmcli.data.recipes import AudioRecipe, Waveform
from mmcli.encoders.cards import finished, narrowed, space_of
from mmcli.encoders.sound import RATE_HZ, RECIPE, at_16_khz, load_torchaudio
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch

_MEL = {"n_fft": 400, "win_length": 400, "hop_length": 160, "n_mels": 80}
N_MFCC = 40
#: Added before the logarithm; below the quantisation noise of 16-bit audio.
_FLOOR = 1e-6
#: Recordings gathered at once, and the seconds of sound in one batch.
_WINDOW = 32
_BUDGET_S = 960


@dataclass
class SpectralEncoder:
    """`spectrum` turns samples `(n,)` into coefficients `(coefficients, frames)`.

    Each recording is transformed on its own: there is nothing to gain from a batch.
    """

    card: EncoderCard
    spectrum: Callable[[Any], Any]
    options: EncoderOptions
    placement: Placement
    trunk_key: Hashable
    recipe: AudioRecipe = RECIPE
    window: int | None = _WINDOW
    budget: int = _BUDGET_S

    def prepare(self, parts: Sequence[Waveform]) -> list[Prepared]:
        """16 kHz samples; a row's length is in seconds."""
        return [
            Prepared(samples, length=1 + len(samples) // RATE_HZ)
            for samples in (at_16_khz(part) for part in parts)
        ]

    def collate(self, rows: Sequence[Prepared], length: int) -> list[Any]:
        """Samples as they are, none padded beyond one analysis window."""
        torch = load_torch()
        return [
            torch.from_numpy(_at_least_one_frame(row.data)).to(self.placement.device)
            for row in rows
        ]

    def trunk(self, batch: list[Any]) -> list[Any]:
        return [self.spectrum(samples) for samples in batch]

    def head(
        self, features: list[Any], *, sequence: bool = False, layer: int | None = None
    ) -> Output:
        pooled = load_torch().stack([statistics(one) for one in features])
        frames = [one.T.contiguous() for one in features] if sequence else None
        return Output(finished(pooled, self.options.dim, False), frames)


def statistics(coefficients: Any) -> Any:
    """Coefficients `(n, frames)` to `(4 n,)`: mean, deviation, and the same of the deltas."""
    torch = load_torch()
    deltas = load_torchaudio().functional.compute_deltas(coefficients)
    return torch.cat(
        [
            part
            for one in (coefficients, deltas)
            for part in (one.mean(dim=1), one.std(dim=1, correction=0))
        ]
    )


def _at_least_one_frame(samples: np.ndarray) -> np.ndarray:
    missing = _MEL["n_fft"] - len(samples)
    return np.pad(samples, (0, missing)) if missing > 0 else samples


def load_logmel(
    resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement
) -> SpectralEncoder:
    """The encoder `logmel`."""
    torch = load_torch()
    mel = load_torchaudio().transforms.MelSpectrogram(RATE_HZ, **_MEL).to(placement.device)
    settings = {"kind": "logmel", "rate_hz": RATE_HZ, "floor": _FLOOR, **_MEL}
    return _encoder(
        resolved, options, placement, settings, _MEL["n_mels"], lambda s: torch.log(mel(s) + _FLOOR)
    )


def load_mfcc(
    resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement
) -> SpectralEncoder:
    """The encoder `mfcc`."""
    transform = load_torchaudio().transforms.MFCC(
        RATE_HZ, n_mfcc=N_MFCC, log_mels=True, melkwargs=dict(_MEL)
    )
    settings = {"kind": "mfcc", "rate_hz": RATE_HZ, "n_mfcc": N_MFCC, **_MEL}
    return _encoder(resolved, options, placement, settings, N_MFCC, transform.to(placement.device))


def _encoder(
    resolved: ResolvedEncoder,
    options: EncoderOptions,
    placement: Placement,
    settings: dict[str, Any],
    width: int,
    spectrum: Callable[[Any], Any],
) -> SpectralEncoder:
    """An encoder without weights: the hash is that of its settings. Always computed in fp32."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    card = EncoderCard(
        name=resolved.name,
        modality="speech",
        dim=4 * width,
        normalized=False,
        space=space_of(resolved.name, digest),
        weights_sha256=digest,
        preprocessing=settings,
        sequence_dim=width,
    )
    return SpectralEncoder(
        narrowed(card, options), spectrum, options, placement, (digest, placement)
    )
