"""CLAP: sounds and English texts in one space, with LAION's HTSAT and RoBERTa.

A recording of more than ten seconds is several windows whose vectors are averaged; models that fuse
take its whole spectrum, made small, and the middle window of each third. transformers draws a
window, or the three, at random, and fuses a random row of a batch that has no long one: here the
same sound always has the same vector. Source: Wu et al. 2022, arXiv 2211.06687.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.types import EncoderCard
from mmcli.encoders.cards import narrowed, shared_card
from mmcli.encoders.hub import fetch
from mmcli.encoders.sound_tower import SoundBatch, SoundTower
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.steady import steady
from mmcli.encoders.text import TextEncoder
from mmcli.encoders.text_tower import text_tower
from mmcli.encoders.tokens import TokenBatch, Tokenizer
from mmcli.encoders.towers import Ran
from mmcli.encoders.weights import (
    from_pretrained,
    open_model,
    settle,
)
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch, load_transformers

#: Tokens it was trained with; its RoBERTa would take 512.
_LENGTH = 77


def load(
    resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement
) -> SoundTower | TextEncoder:
    """The tower of `resolved.modality`."""
    found = fetch(resolved)
    model = open_model(load_transformers().ClapModel, found.path, placement)
    card = shared_card(resolved, found, "clap", int(model.config.projection_dim))
    if resolved.modality == "text":
        return _text(found.path, model, card, options, placement)
    return _sound(found.path, model, card, options, placement)


def _sound(
    folder: Path, model: Any, card: EncoderCard, options: EncoderOptions, placement: Placement
) -> SoundTower:
    model.text_model = model.text_projection = None
    model = settle(model, placement)
    extractor = from_pretrained(load_transformers().ClapFeatureExtractor.from_pretrained, folder)
    net = model.audio_model.audio_encoder
    fused = bool(net.enable_fusion)

    def run(batch: SoundBatch) -> Ran:
        out = model.audio_model(input_features=batch.windows, is_longer=batch.longer[:, None])
        # a map of frequency and time, in the order of time
        states = out.last_hidden_state.transpose(2, 3).flatten(2).transpose(1, 2)
        return Ran(model.audio_projection(out.pooler_output), states)

    card = replace(
        card,
        preprocessing={
            "rate_hz": int(extractor.sampling_rate),
            "window_s": int(extractor.max_length_s),
            "padding": str(extractor.padding),
            "fused": fused,
        },
        sequence_dim=int(net.num_features),
        layers=len(net.layers),
        layer_shapes=_shapes(net),
    )
    return SoundTower(
        card=narrowed(card, options),
        network=model,
        cut=cutter(extractor, fused),
        run=run,
        layers_of=lambda: net.layers,
        rate_hz=int(extractor.sampling_rate),
        placement=placement,
        trunk_key=(card.weights_sha256, "sound", placement, options.layers),
        options=options,
    )


def _shapes(net: Any) -> tuple[tuple[int, int], ...]:
    """Places and width of what each stage gives: all but the last halve both sides."""
    down, across = net.input_resolutions[0]
    width, count = int(net.config.patch_embeds_hidden_size), len(net.layers)
    halved = [min(stage + 1, count - 1) for stage in range(count)]
    return tuple(((down >> n) * (across >> n), width << n) for n in halved)


def cutter(extractor: Any, fused: bool) -> Callable[[np.ndarray], list[tuple[Any, bool]]]:
    """How samples become windows: log-mel `(1 or 4, frames, bands)`, and whether one is fused."""
    size = int(extractor.nb_max_samples)
    mel = _mel(extractor, extractor.mel_filters if fused else extractor.mel_filters_slaney)

    def cut(samples: np.ndarray) -> list[tuple[Any, bool]]:
        if len(samples) <= size:
            window = mel(_filled(samples, size, str(extractor.padding)))
            return [(window.expand(4 if fused else 1, -1, -1), False)]
        if fused:
            return [_fused(mel(samples), size // int(extractor.hop_length) + 1)]
        starts = np.linspace(0, len(samples) - size, -(-len(samples) // size)).astype(int)
        return [(mel(samples[start : start + size])[None], False) for start in starts]

    return cut


def _fused(mel: Any, frames: int) -> tuple[Any, bool]:
    """The whole spectrum, made small, and the middle window of each third of the starts."""
    torch = load_torch()
    free = len(mel) - frames
    if free <= 0:
        return mel[:frames].expand(4, -1, -1), False
    thirds = np.array_split(np.arange(free + 1), 3)
    starts = [int(third[len(third) // 2]) if len(third) else 0 for third in thirds]
    small = torch.nn.functional.interpolate(
        mel[None, None], size=[frames, mel.shape[1]], mode="bilinear", align_corners=False
    )[0, 0]
    return torch.stack([small, *(mel[start : start + frames] for start in starts)]), True


def _filled(samples: np.ndarray, size: int, padding: str) -> np.ndarray:
    """Samples repeated as often as they fit, as LAION has it, then silence."""
    if padding == "repeat":
        return np.resize(samples, size)
    if padding == "repeatpad":
        samples = np.tile(samples, max(1, size // len(samples)))
    return np.pad(samples, (0, size - len(samples)))


def _mel(extractor: Any, filters: np.ndarray) -> Callable[[np.ndarray], Any]:
    """Samples to log-mel `(frames, bands)` in decibels, as ClapFeatureExtractor computes it."""
    torch = load_torch()
    size, hop = int(extractor.fft_window_size), int(extractor.hop_length)
    bank = torch.from_numpy(np.ascontiguousarray(filters.T, np.float32))
    shape = torch.hann_window(size)

    def mel(samples: np.ndarray) -> Any:
        wave = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
        spectrum = torch.stft(wave, size, hop, window=shape, return_complex=True)
        power = bank @ spectrum.abs().square()
        return 10.0 * power.clamp(min=1e-10).log10().T

    return mel


def _text(
    folder: Path, model: Any, card: EncoderCard, options: EncoderOptions, placement: Placement
) -> TextEncoder:
    model.audio_model = model.audio_projection = None
    model = settle(model, placement)
    net, config = model.text_model, model.config.text_config
    most = int(config.max_position_embeddings) - 2  # positions start behind the padding index
    length = max(2, min(options.max_length or _LENGTH, most))

    def run(batch: TokenBatch) -> Ran:
        states = net(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state
        pooled = steady(net.pooler.dense, states[:, 0])
        return Ran(steady(model.text_projection, net.pooler.activation(pooled)), states)

    return text_tower(
        card,
        model,
        run,
        lambda: net.encoder.layer,
        Tokenizer(folder, length, options.prompt, placement.device),
        int(config.hidden_size),
        "cls",
        options,
        placement,
    )
