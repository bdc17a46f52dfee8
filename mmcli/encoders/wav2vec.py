"""Speech models that read samples: wav2vec 2.0, HuBERT and WavLM.

A recording is cut into equal windows of at most 30 seconds. The convolutions see each window alone
and unpadded (some normalise over all of its time), the Transformer sees windows padded and masked
by their own length, so that a row does not hang on its batch. Pooled: mean over all states, 50 a
second. Sources: Baevski et al. 2020, arXiv 2006.11477; Hsu et al. 2021, arXiv
2106.07447; Chen et al. 2021, arXiv 2110.13900.
"""

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmcli.core.types import EncoderCard, Output, Prepared
from mmcli.data.recipes import AudioRecipe, Waveform
from mmcli.encoders.cards import mean_over_windows, narrowed, space_of
from mmcli.encoders.hub import config_of, fetch, processor_part
from mmcli.encoders.sound import RECIPE, at_rate
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.steady import LEAST_TOKENS
from mmcli.encoders.towers import watched
from mmcli.encoders.weights import folder_sha256, open_model, settle, torch_dtype, weight_files
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch, load_transformers

_MODELS = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel", "wavlm": "WavLMModel"}
WINDOW_S = 30
#: Recordings gathered before they are sorted into batches, and seconds of sound in one batch.
_WINDOW, _BUDGET_S = 32, 240
#: States are padded to the next multiple of this; one at least is padding, so that there always is
#: a mask: attention without one adds up in another order.
_STEP = 32


@dataclass(frozen=True)
class States:
    """For each row, for each of its windows, the real states of every wanted layer (None: out)."""

    rows: list[list[dict[int | None, Any]]]


@dataclass
class WaveEncoder:
    """Samples in, states `(length, dim)` out."""

    card: EncoderCard
    network: Any
    placement: Placement
    options: EncoderOptions
    rate_hz: int
    normalize: bool
    shortest: int
    trunk_key: Hashable
    recipe: AudioRecipe = RECIPE
    window: int | None = _WINDOW
    budget: int = _BUDGET_S

    def prepare(self, parts: Sequence[Waveform]) -> list[Prepared]:
        """Windows of samples; a row's length is in seconds."""
        prepared = []
        for part in parts:
            samples = at_rate(part, self.rate_hz)
            if self.normalize:
                samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
            count = -(-len(samples) // (WINDOW_S * self.rate_hz))
            windows = [
                np.pad(piece, (0, max(0, self.shortest - len(piece))))
                for piece in np.array_split(samples, count)
            ]
            prepared.append(Prepared(windows, length=1 + len(samples) // self.rate_hz))
        return prepared

    def collate(self, rows: Sequence[Prepared], length: int) -> list[list[Any]]:
        """Each window keeps its own length, whatever the batch is padded to."""
        torch = load_torch()
        device = self.placement.device
        return [[torch.from_numpy(w).to(device) for w in row.data] for row in rows]

    def trunk(self, batch: list[list[Any]]) -> States:
        net, torch = self.network, load_torch()
        found: list[list[dict[int | None, Any]]] = [[{} for _ in row] for row in batch]
        groups: dict[int, list[tuple[dict[int | None, Any], Any]]] = {}
        for row, places in zip(batch, found, strict=True):
            for samples, place in zip(row, places, strict=True):
                with torch.autocast(samples.device.type, enabled=False):
                    features = net.feature_extractor(samples[None])[0].T
                padded = (len(features) // _STEP + 1) * _STEP
                groups.setdefault(padded, []).append((place, features))
        for padded, members in groups.items():
            lengths = [len(features) for _, features in members]
            missing = max(0, -(-LEAST_TOKENS // padded) - len(members))
            pad = torch.nn.functional.pad
            stacked = torch.stack([pad(f, (0, 0, 0, padded - len(f))) for _, f in members])
            stacked = pad(stacked, (0, 0, 0, 0, 0, missing)).to(torch_dtype(self.placement))
            real = torch.tensor(lengths + [1] * missing, device=stacked.device)
            mask = torch.arange(padded, device=stacked.device) < real[:, None]
            for name, states in self._run(stacked, mask).items():
                for (place, _), state, n in zip(members, states, lengths, strict=False):
                    place[name] = state[:n]
        return States(found)

    def _run(self, features: Any, mask: Any) -> dict[int | None, Any]:
        net = self.network
        projected = net.feature_projection(features)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        with (
            watched(net.encoder.layers, self.options.layers) as kept,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # torch's, about the two masks of WavLM
            out = net.encoder(hidden, attention_mask=mask).last_hidden_state
        return {**kept, None: out}

    def head(self, features: States, *, sequence: bool = False, layer: int | None = None) -> Output:
        return mean_over_windows(features.rows, self.options, sequence, layer)


def load(resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement) -> WaveEncoder:
    """The speech model of a repository or a folder, whichever family its config.json names."""
    found = fetch(resolved)
    kind = str(config_of(found.path, "config.json")["model_type"])
    net = open_model(getattr(load_transformers(), _MODELS[kind]), found.path, placement)
    net.config.layerdrop = 0.0  # in tuning every layer is wanted
    net = settle(net, placement)
    if placement.dtype != "float32":
        net.feature_extractor.float()  # bf16 has no room for samples: eight bits of sixteen
        net.encoder.pos_conv_embed = _in_fp32(net.encoder.pos_conv_embed)
    settings = processor_part(found.path, "preprocessor_config.json", "feature_extractor")
    rate, normalize = int(settings.get("sampling_rate", 16_000)), settings.get("do_normalize", True)
    sha256 = folder_sha256(weight_files(found.path))
    width = int(net.config.hidden_size)
    card = EncoderCard(
        name=resolved.name,
        modality="speech",
        dim=width,
        normalized=False,
        space=space_of(kind, sha256),
        weights_sha256=sha256,
        revision=found.revision,
        preprocessing={"rate_hz": rate, "normalize": bool(normalize), "window_s": WINDOW_S},
        sequence_dim=width,
        layers=int(net.config.num_hidden_layers),
    )
    return WaveEncoder(
        card=narrowed(card, options),
        network=net,
        placement=placement,
        options=options,
        rate_hz=rate,
        normalize=bool(normalize),
        shortest=_shortest(net.config),
        trunk_key=(sha256, "states", placement, options.layers),
    )


def _in_fp32(inner: Any) -> Any:
    """A module computed in fp32, whose output has the type of what it was given.

    For grouped convolutions over time: with 8 channels a group and 16 taps oneDNN's bf16 kernel
    gives noise (torch 2.14, AVX512; cosine 0.1 to fp32), with the 48 of real models it does not.
    """
    torch = load_torch()

    class InFp32(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner.float()

        def forward(self, states: Any) -> Any:
            return self.inner(states.float()).to(states.dtype)

    return InFp32()


def _shortest(config: Any) -> int:
    """Samples that make one state: the field of view of the convolutions."""
    samples = 1
    for kernel, stride in zip(
        reversed(config.conv_kernel), reversed(config.conv_stride), strict=True
    ):
        samples = (samples - 1) * stride + kernel
    return samples
