"""What an extraction will make: encoders, keys, shards, and the options that decide the bytes.

Everything here is settled before the first item is read. Knows nothing about files.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.types import PART_COLUMNS
from mmcli.data.windows import parse_windows
from mmcli.encoders.registry import PRESETS, load, resolve
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.device import Placement
from mmcli.engine.shards import KeyPlan, ShardRange
from mmcli.store.slugs import slug_of

#: Rows in a shard unless `--shard-size` says otherwise: a minute or so of work to lose in a crash.
SHARD_ROWS = 4096
#: A shard's arrays stay below this many bytes, so that sequences do not fill the memory.
SHARD_BYTES = 256 * 2**20


@dataclass(frozen=True)
class ExtractConfig:
    """What `mmcli extract` can be told; see its help for the meaning of each."""

    source: str
    output: str
    preset: str = "starter"
    encoders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    mapping: Mapping[str, str] = field(default_factory=dict)
    root: str | None = None
    null_separated: bool = False
    explode: str | None = None
    sequence: bool = False
    layers: tuple[int, ...] = ()
    query_prompt: str | None = None
    passage_prompt: str | None = None
    max_length: int | None = None
    dim: int | None = None
    store_dtype: str = "fp32"
    window: tuple[str, ...] = ()
    hop: tuple[str, ...] = ()
    frames: int | None = None
    soundtrack: bool = False
    batch: int | None = None
    workers: int | None = None
    shard_size: int = SHARD_ROWS
    device: str = "auto"
    precision: str = "auto"
    engine: str = "local"
    on_error: str = "skip"
    resume: bool = False
    force: bool = False
    retry_failed: bool = False
    update: bool = False
    dry_run: bool = False
    trust_remote_code: bool = False
    seed: int = 0


def check_config(config: ExtractConfig) -> None:
    """Raise UsageError for an option that no run could follow, before anything is opened."""
    unknown = [m for m in (*config.only, *config.encoders) if m not in PART_COLUMNS]
    if unknown:
        raise UsageError(f"`{unknown[0]}` is not a modality", "use " + ", ".join(PART_COLUMNS))
    if config.store_dtype not in ("fp32", "fp16"):
        raise UsageError(f"`--store-dtype {config.store_dtype}` is unknown", "use fp32 or fp16")
    if config.engine not in ("local", "ray"):
        raise UsageError(f"`--engine {config.engine}` is unknown", "use local or ray")
    if config.on_error not in ("skip", "fail"):
        raise UsageError(f"`--on-error {config.on_error}` is unknown", "use skip or fail")
    parse_windows(config.window, config.hop)
    for option in ("batch", "shard_size", "dim", "max_length", "frames"):
        value = getattr(config, option)
        if value is not None and value < 1:
            name = option.replace("_", "-")
            raise UsageError(f"`--{name} {value}`: must be at least 1", "leave it out, or raise it")
    if config.workers is not None and config.workers < 0:
        raise UsageError(f"`--workers {config.workers}`: must not be negative", "0 is none")
    resume = config.resume and not config.update  # an update goes on by itself
    if resume + config.force + config.retry_failed + config.update > 1:
        raise UsageError(
            "`--resume`, `--force`, `--retry-failed` and `--update` exclude each other",
            "choose one of them",
        )


def choose_encoders(config: ExtractConfig, present: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Encoder references for each modality that the source has and the user wants."""
    preset = PRESETS.get(config.preset)
    wanted = [m for m in present if not config.only or m in config.only]
    chosen: dict[str, tuple[str, ...]] = {}
    for modality in wanted:
        if config.encoders.get(modality):
            chosen[modality] = tuple(config.encoders[modality])
        elif modality in preset.encoders:
            chosen[modality] = (preset.encoders[modality],)
        elif modality == "video" and _picture_encoder(config):
            chosen[modality] = (_picture_encoder(config),)
        elif modality in config.only:
            raise UsageError(
                f"preset `{config.preset}` has no {modality} encoder",
                f"name one with `--{modality}`; `mmcli models` lists them",
            )
    if not chosen:
        have = ", ".join(present) or "none in any row"
        raise BadInput(
            f"`{config.source}` has nothing to embed (parts found: {have})",
            f"preset `{config.preset}` takes {', '.join(preset.encoders)}; `--map` renames columns",
        )
    return chosen


def _picture_encoder(config: ExtractConfig) -> str:
    """What takes the frames of videos where no tower takes videos: the encoder of pictures."""
    named = config.encoders.get("image")
    return named[0] if named else PRESETS.get(config.preset).encoders.get("image", "")


def plan_keys(
    config: ExtractConfig, chosen: Mapping[str, Sequence[str]], placement: Placement
) -> list[KeyPlan]:
    """Load every encoder and name its embeddings: first `image`, then `image:NAME`, `image:NAME@4`.

    Raises UsageError when two encoders would write the same key.
    """
    plans: list[KeyPlan] = []
    for modality, references in chosen.items():
        for reference in references:
            resolve(reference, modality)  # a wrong name fails before anything slow is loaded
            if references.count(reference) > 1:
                raise UsageError(f"`--{modality} {reference}` is given twice", "name each once")
    for modality, references in chosen.items():
        for position, reference in enumerate(references):
            encoder = load(reference, modality, _encoder_options(config, modality), placement)
            name = encoder.card.name
            key = modality if position == 0 else f"{modality}:{name}"
            if config.dim is not None and config.dim > encoder.card.dim:
                raise UsageError(
                    f"`--dim {config.dim}` is more than the {encoder.card.dim} of `{name}`",
                    f"use 1 to {encoder.card.dim}, or leave it out",
                )
            dim = min(config.dim or encoder.card.dim, encoder.card.dim)
            half = config.store_dtype == "fp16"
            again = _lasting(reference)
            sequence = config.sequence and encoder.card.sequence_dim is not None
            plans.append(KeyPlan(key, slug_of(key), encoder, dim, sequence, None, half, again))
            for layer in config.layers if encoder.card.layers else ():
                if not 1 <= layer <= encoder.card.layers:
                    raise UsageError(
                        f"`--layers {layer}`: `{name}` has layers 1 to {encoder.card.layers}",
                        "change `--layers`",
                    )
                key = f"{modality}:{name}@{layer}"
                shapes = encoder.card.layer_shapes
                width = shapes[layer - 1][1] if shapes else None
                plans.append(
                    KeyPlan(
                        key,
                        slug_of(key),
                        encoder,
                        width or encoder.card.sequence_dim or encoder.card.dim,
                        sequence,
                        layer,
                        half,
                        again,
                    )
                )
    if config.layers and not any(p.layer for p in plans):
        raise UsageError(
            f"`--layers {config.layers[0]}`: `{plans[0].encoder.card.name}` has no layers",
            "leave it out, or add an encoder that has some",
        )
    repeated = [p.key for p in plans if sum(q.key == p.key for q in plans) > 1]
    if repeated:
        raise UsageError(f"two encoders would write the key `{repeated[0]}`", "name each once")
    return plans


def _lasting(reference: str) -> str:
    """A reference that still holds when the working directory is another."""
    scheme, colon, rest = reference.partition(":")
    if scheme in ("local", "model") and colon:
        path, hash_, key = rest.partition("#") if scheme == "model" else (rest, "", "")
        return f"{scheme}:{Path(path).expanduser().resolve()}{hash_}{key}"
    return reference


def _encoder_options(config: ExtractConfig, modality: str) -> EncoderOptions:
    return EncoderOptions(
        layers=config.layers,
        sequence=config.sequence,
        max_length=config.max_length if modality == "text" else None,
        prompt=(config.passage_prompt or "") if modality == "text" else "",
        trust_remote_code=config.trust_remote_code,
        frames=config.frames if modality == "video" else None,
    )


def cut_shards(n_items: int, rows: int) -> list[ShardRange]:
    """Equal ranges of `rows` items, the last one shorter; an empty source is one empty shard."""
    return [
        ShardRange(index, start, min(start + rows, n_items))
        for index, start in enumerate(range(0, max(n_items, 1), rows))
    ]


def shard_rows(config: ExtractConfig, plans: Sequence[KeyPlan]) -> int:
    """Rows of a shard: `--shard-size`, or as many fewer as keep its vectors below `SHARD_BYTES`."""
    return max(1, min(config.shard_size, SHARD_BYTES // max(1, row_bytes(plans))))


def row_bytes(plans: Sequence[KeyPlan]) -> int:
    """Bytes that the vectors of one row take at most, every sequence at its full length."""
    total = 0
    for plan in plans:
        values = plan.dim
        if plan.sequence:
            values += math.prod(plan.sequence_shape)
        total += values * (2 if plan.half else 4)
    return total


def key_entry(config: ExtractConfig, plan: KeyPlan) -> dict[str, Any]:
    """What the manifest says of a key."""
    card = plan.encoder.card
    weights = card.space.partition("@")[2]
    layered = plan.layer is not None
    prompts = dict(card.prompts)
    if card.modality == "text":
        if config.query_prompt is not None:
            prompts["query"] = config.query_prompt
        if config.passage_prompt is not None:
            prompts["passage"] = config.passage_prompt
    return {
        "slug": plan.slug,
        "modality": card.modality,
        "encoder": card.name,
        "reference": plan.reference,
        "revision": card.revision,
        "weights_sha256": card.weights_sha256,
        "dim": plan.dim,
        "dtype": "F16" if plan.half else "F32",
        "normalized": card.normalized,
        "space": f"{card.name}-layer{plan.layer}@{weights}" if layered else card.space,
        "preprocessing": dict(card.preprocessing),
        "prompts": prompts,
        "sequence": plan.sequence,
        **({"sequence_dim": plan.sequence_shape[1]} if plan.sequence else {}),
        **({"layer": plan.layer} if layered else {}),
    }


def options_entry(
    config: ExtractConfig, plans: Sequence[KeyPlan], placement: Placement
) -> dict[str, Any]:
    """The options that decide what the store's bytes are; a resumed run must repeat them."""
    return {
        "preset": config.preset,
        "encoders": {plan.key: plan.encoder.card.name for plan in plans},
        "only": list(config.only),
        "map": dict(config.mapping),
        **({"explode": config.explode} if config.explode else {}),
        "sequence": config.sequence,
        "layers": list(config.layers),
        "query_prompt": config.query_prompt,
        "passage_prompt": config.passage_prompt,
        "max_length": config.max_length,
        "dim": config.dim,
        "store_dtype": config.store_dtype,
        **{
            name: value
            for name, value in (
                ("window", list(config.window)),
                ("hop", list(config.hop)),
                ("frames", config.frames),
                ("soundtrack", config.soundtrack),
            )
            if value
        },
        "trust_remote_code": config.trust_remote_code,
        "seed": config.seed,
        "shard_size": config.shard_size,
        "device": placement.device.partition(":")[0],
        "precision": placement.precision,
    }
