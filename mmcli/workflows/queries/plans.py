"""Which encoder answers a query of each modality, decided from a store's manifest and the registry.

Deciding loads nothing; `load_query_encoder` does. Knows nothing about FAISS or index files.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from mmcli.core.errors import MmcliError, SpaceMismatch
from mmcli.core.types import Encoder
from mmcli.encoders.registry import ENCODERS, PRESETS, load, loader_of, resolve
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.device import Placement, place, probe
from mmcli.store.manifest import canonical

QUERY_MODALITIES = ("text", "image", "speech", "video")


@dataclass(frozen=True)
class QueryPlan:
    """How one encoder turns queries of a modality into vectors of one space.

    encoder: a reference. dim: the width, to which the encoder's output is cut. prompt: put before
    texts; None is the model's own for queries, if it has one. weights_sha256,
    preprocessing_sha256: what the encoder must be of, where that is known. frames: of a video.
    """

    modality: str
    encoder: str
    space: str
    dim: int
    prompt: str | None = None
    max_length: int | None = None
    layer: int | None = None
    trust_remote_code: bool = False
    weights_sha256: str | None = None
    preprocessing_sha256: str | None = None
    frames: int | None = None

    def as_manifest(self) -> dict[str, Any]:
        """What the index's manifest says of it."""
        return {k: v for k, v in asdict(self).items() if k != "modality" and v is not None}

    @classmethod
    def from_manifest(cls, modality: str, entry: Mapping[str, Any]) -> "QueryPlan":
        """The plan that an index's manifest holds."""
        names = [field.name for field in fields(cls) if field.name != "modality"]
        return cls(modality, **{n: entry[n] for n in names if n in entry})


def modality_of_key(key: str, entry: Mapping[str, Any]) -> str:
    """The modality of a store's key; its name begins with it."""
    return str(entry.get("modality") or key.partition(":")[0])


def key_of_modality(entries: Mapping[str, Mapping[str, Any]], modality: str) -> str | None:
    """The key that is meant by a modality: that of its name, else its first, layers last.

    The order of keys is the writer's, and need not say anything.
    """
    here = [key for key, entry in entries.items() if modality_of_key(key, entry) == modality]
    here.sort(key=lambda key: (key != modality, entries[key].get("layer") is not None))
    return here[0] if here else None


def reference_of(entry: Mapping[str, Any]) -> str | None:
    """How to ask the registry for a key's encoder again, at the revision that made the store."""
    reference = entry.get("reference") or entry.get("encoder")
    if not reference:
        return None
    reference, revision = str(reference), entry.get("revision")
    if reference.startswith("hf:") and "@" not in reference and revision:
        return f"{reference}@{revision}"
    return reference


def plan_queries(
    entries: Mapping[str, Mapping[str, Any]],
    keys: Sequence[str],
    options: Mapping[str, Any],
    prompt: str | None = None,
) -> dict[str, QueryPlan]:
    """A plan for every modality that can query an index of `keys`, one space, of a store.

    entries: what the store says of all its keys; options: those it was extracted with. prompt: put
    before text queries; by default what the store's text key says of queries, else the model.
    """
    first = entries[keys[0]]
    space, dim = str(first["space"]), int(first["dim"])
    plans: dict[str, QueryPlan] = {}
    for modality in QUERY_MODALITIES if space else ():
        for reference, entry in _candidates(entries, keys, modality, space, options):
            if _takes(reference, modality, space, known=bool(entry)):
                plans[modality] = QueryPlan(
                    modality=modality,
                    encoder=reference,
                    space=space,
                    dim=dim,
                    layer=entry.get("layer"),
                    trust_remote_code=bool(options.get("trust_remote_code")),
                    frames=_frames(entry) if modality == "video" else None,
                    **(_text_settings(entry, prompt) if modality == "text" else {}),
                )
                break
    return plans


def plan_bound(
    key: str,
    bound: Mapping[str, Any],
    options: Mapping[str, Any],
    prompt: str | None = None,
) -> QueryPlan | None:
    """A plan for a key that an aligner reads, from what the aligner keeps of it; None without one.

    The encoder must have the weights and preprocessing that the aligner was trained on, and texts
    get the prompt that they got then, unless another `prompt` is asked for.
    """
    modality, reference = modality_of_key(key, bound), reference_of(bound)
    if not reference or not bound.get("space") or modality not in QUERY_MODALITIES:
        return None
    if not _takes(reference, modality, str(bound["space"]), known=True):
        return None
    text: dict[str, Any] = {}
    if modality == "text":
        used = str((bound.get("prompts") or {}).get("used") or "")
        text = {
            "prompt": used if prompt is None else prompt,
            "max_length": bound.get("max_length"),
        }
    return QueryPlan(
        modality=modality,
        encoder=reference,
        space=str(bound["space"]),
        dim=int(bound["dim"]),
        layer=bound.get("layer"),
        trust_remote_code=bool(options.get("trust_remote_code")),
        weights_sha256=bound.get("weights_sha256"),
        preprocessing_sha256=bound.get("preprocessing_sha256"),
        frames=bound.get("frames"),
        **text,
    )


def _text_settings(entry: Mapping[str, Any], prompt: str | None) -> dict[str, Any]:
    if prompt is None:
        prompt = (entry.get("prompts") or {}).get("query")
    return {
        "prompt": prompt,
        "max_length": (entry.get("preprocessing") or {}).get("max_length"),
    }


def _frames(entry: Mapping[str, Any]) -> int | None:
    frames = (entry.get("preprocessing") or {}).get("frames")
    return int(frames) if frames else None


def load_query_encoder(plan: QueryPlan, device: str, precision: str) -> Encoder:
    """The encoder of a plan. Raises SpaceMismatch when it is not what the index was made with."""
    placement = place(device, precision, probe())
    encoder = _load(plan, plan.prompt or "", placement)
    own = str(encoder.card.prompts.get("query") or "")
    if plan.modality == "text" and plan.prompt is None and own:
        encoder = _load(plan, own, placement)  # the model's own words before a query
    if plan.layer is None and encoder.card.space != plan.space:
        raise SpaceMismatch(
            f"the index is in space `{plan.space}`, encoder `{plan.encoder}` in"
            f" `{encoder.card.space}`",
            "its weights have changed: extract and index again",
        )
    if plan.layer is None and encoder.card.dim != plan.dim:
        raise SpaceMismatch(
            f"the index has {plan.dim} dimensions, encoder `{plan.encoder}` gives"
            f" {encoder.card.dim}",
            "extract and index again",
        )
    _check_making(plan, encoder)
    return encoder


def _check_making(plan: QueryPlan, encoder: Encoder) -> None:
    """Raise SpaceMismatch unless weights and preprocessing are those that a plan names."""
    preprocessing = canonical(dict(encoder.card.preprocessing))
    found = {
        "weights": (plan.weights_sha256, encoder.card.weights_sha256),
        "preprocessing": (
            plan.preprocessing_sha256,
            hashlib.sha256(preprocessing.encode()).hexdigest(),
        ),
    }
    for what, (wanted, has) in found.items():
        if wanted and wanted != has:
            raise SpaceMismatch(
                f"encoder `{plan.encoder}` has {what} `{has[:12]}…`, the aligner was trained on"
                f" `{wanted[:12]}…`",
                "train the aligner again, on a store that this encoder made",
            )


def _load(plan: QueryPlan, prompt: str, placement: Placement) -> Encoder:
    options = EncoderOptions(
        layers=() if plan.layer is None else (plan.layer,),
        max_length=plan.max_length,
        prompt=prompt,
        dim=plan.dim if plan.layer is None else None,
        trust_remote_code=plan.trust_remote_code,
        frames=plan.frames,
    )
    return load(plan.encoder, plan.modality, options, placement)


def _candidates(
    entries: Mapping[str, Mapping[str, Any]],
    keys: Sequence[str],
    modality: str,
    space: str,
    options: Mapping[str, Any],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """References that may serve, the likeliest first, with the store's entry where there is one."""
    for key in [*keys, *entries]:
        entry = entries[key]
        reference = reference_of(entry)
        if reference and modality_of_key(key, entry) == modality and entry.get("space") == space:
            yield reference, entry
    for key in keys:  # a model with several towers
        reference = reference_of(entries[key])
        if reference and entries[key].get("layer") is None:
            yield reference, {}
    preset = str(options.get("preset"))
    if preset in PRESETS and modality in PRESETS.get(preset).encoders:
        yield PRESETS.get(preset).encoders[modality], {}
    for spec in ENCODERS:
        if spec.space == space:
            yield spec.name, {}


def _takes(reference: str, modality: str, space: str, known: bool) -> bool:
    """Whether a reference encodes that modality into that space, as far as can be told unloaded.

    known: the store says that it does, and only the reference has to be understood.
    """
    try:
        resolved = resolve(reference, modality)
        if known:
            return True
        if resolved.spec is not None:
            return resolved.spec.space in (space, None)
        if not resolved.loader:
            from mmcli.encoders.hub import fetch_config

            loader_of(fetch_config(resolved), modality, reference)
    except MmcliError:
        return False
    return True
