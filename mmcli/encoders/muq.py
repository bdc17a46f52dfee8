"""MuQ-MuLan: music and texts in one space, by the package `muq` (extra `muq`).

Its weights are for non-commercial use. It loads MuQ and XLM-RoBERTa from the hub by itself. The
package pads texts without a mask, so that a text's vector would hang on its batch: here each is
encoded alone. Windows are ten seconds, the last one goes on from the start, as the package has it.
Source: Zhu et al. 2025, arXiv 2501.01108.
"""

import contextlib
import importlib.util
import io
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmcli.core.errors import MissingResource
from mmcli.core.types import EncoderCard, Output, Prepared
from mmcli.data.recipes import TextRecipe
from mmcli.encoders.cards import finished, narrowed, space_of
from mmcli.encoders.hub import explain, fetch
from mmcli.encoders.sound_tower import SoundBatch, SoundTower
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.towers import Ran, watched
from mmcli.encoders.weights import folder_sha256, settle, weight_files
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch, load_transformers

#: Tokens that XLM-RoBERTa takes; longer texts are cut, the package would fail on them.
_LENGTH = 512
_BATCH = 16
_RECIPE = TextRecipe()


@dataclass
class MuqText:
    """Texts one by one through the package's text tower."""

    card: EncoderCard
    network: Any
    prompt: str
    options: EncoderOptions
    trunk_key: Hashable
    length: int = _LENGTH
    recipe: TextRecipe = _RECIPE
    window: int | None = None
    budget: int = _BATCH
    exact: bool = True

    def prepare(self, parts: Sequence[str]) -> list[Prepared]:
        return [Prepared(*self._cut(self.prompt + text)) for text in parts]

    def _cut(self, text: str) -> tuple[str, int, bool]:
        """The text as far as the model reads, a length of one row, and whether any was cut."""
        told = self.network.text.tokenizer(
            text, truncation=True, max_length=self.length, return_offsets_mapping=True
        )
        end = max((stop for _, stop in told["offset_mapping"]), default=0)
        return text[:end], 1, bool(text[end:].strip())

    def collate(self, rows: Sequence[Prepared], length: int) -> list[str]:
        return [row.data for row in rows]

    def trunk(self, batch: list[str]) -> list[tuple[Any, Any]]:
        found = []
        for text in batch:
            with watched([self.network.text.transformer], (1,)) as kept:
                latent = self.network.get_text_latents(raw_texts=[text])
            found.append((latent[0], kept[1][0]))
        return found

    def head(
        self,
        features: list[tuple[Any, Any]],
        *,
        sequence: bool = False,
        layer: int | None = None,
    ) -> Output:
        """Sequence: the states between the two special tokens."""
        pooled = load_torch().stack([latent for latent, _ in features])
        states = [states[1:-1].float() for _, states in features] if sequence else None
        return Output(finished(pooled, self.options.dim, True), states)


def load(
    resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement
) -> SoundTower | MuqText:
    """The tower of `resolved.modality`, always in fp32, as its authors advise."""
    if importlib.util.find_spec("muq") is None:
        raise MissingResource("package `muq` is not installed", "pip install 'mmcli[muq]'")
    load_transformers()
    from muq import MuQMuLan

    found = fetch(resolved)
    placement = Placement(placement.device, "float32")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the hub's library prints what it loads
            model = MuQMuLan.from_pretrained(str(found.path))
    except Exception as error:  # it fetches two more models
        raise explain(resolved, "MuQ or XLM-RoBERTa, which it needs,", error) from error
    net = settle(model.mulan_module, placement)
    give_hidden_states(net.audio.model.model.conformer)
    sha256 = folder_sha256(weight_files(found.path))
    card = EncoderCard(
        name=resolved.name,
        modality=resolved.modality,
        dim=int(net.dim_latent),
        normalized=True,
        space=space_of("muq-mulan", sha256),
        weights_sha256=sha256,
        revision=found.revision,
    )
    if resolved.modality == "text":
        card = replace(
            card,
            preprocessing={"max_length": options.max_length or _LENGTH, "pooling": ["mean"]},
            prompts={"used": options.prompt} if options.prompt else {},
            sequence_dim=int(net.text.dim),
            scripts=("Latn", "Hani"),
        )
        length = min(options.max_length or _LENGTH, _LENGTH)
        key = (sha256, "text", placement, options.prompt, length)
        return MuqText(narrowed(card, options), net, options.prompt, options, key, length)
    return _sound(model, net, card, options, placement)


def give_hidden_states(conformer: Any) -> None:
    """Make a conformer of today's transformers answer as `muq` 0.1 expects it to.

    The package builds transformers' encoder from a bare dictionary and reads `hidden_states`;
    since transformers 5 the encoder wants to know its attention, and only whole models give states.
    """
    if getattr(conformer.config, "_attn_implementation", None) is None:
        conformer.config._attn_implementation = "eager"
    plain = conformer.forward

    def forward(states: Any, attention_mask: Any = None, **_: Any) -> Any:
        seen: list[Any] = []
        handles = [
            layer.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
            for layer in conformer.layers
        ]
        try:
            out = plain(states, attention_mask=attention_mask)
        finally:
            for handle in handles:
                handle.remove()
        out["hidden_states"] = (*seen, out["last_hidden_state"])
        return out

    conformer.forward = forward


def _sound(
    model: Any, net: Any, card: EncoderCard, options: EncoderOptions, placement: Placement
) -> SoundTower:
    rate, size = int(model.sr), int(model.sr * model.clip_secs)

    def cut(samples: np.ndarray) -> list[tuple[Any, bool]]:
        whole = np.resize(samples, -(-len(samples) // size) * size)
        return [(window, False) for window in whole.reshape(-1, size)]

    def run(batch: SoundBatch) -> Ran:
        with watched([net.audio.transformer], (1,)) as kept:
            latents = net.get_audio_latents(batch.windows)
        return Ran(latents, kept[1])

    card = replace(
        card,
        preprocessing={"rate_hz": rate, "window_s": size // rate},
        sequence_dim=int(net.audio.dim),
    )
    return SoundTower(
        card=narrowed(card, options),
        network=net,
        cut=cut,
        run=run,
        layers_of=lambda: (),
        rate_hz=rate,
        placement=placement,
        trunk_key=(card.weights_sha256, "sound", placement),
        options=options,
        exact=True,
    )
