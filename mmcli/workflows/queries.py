"""Which encoder answers a query of each modality, decided from a store's manifest and the registry.

Deciding loads nothing; `load_query_encoder` does. Knows nothing about FAISS or index files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mmcli.core.errors import MmcliError, SpaceMismatch
from mmcli.core.types import Encoder
from mmcli.encoders.registry import ENCODERS, PRESETS, load, resolve
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.device import Placement, place, probe

QUERY_MODALITIES = ("text", "image", "speech")


@dataclass(frozen=True)
class QueryPlan:
    """How queries of one modality become vectors of the index's space.

    encoder: a reference. dim: the width of the index, to which the encoder's output is cut.
    """

    modality: str
    encoder: str
    space: str
    dim: int
    prompt: str = ""
    max_length: int | None = None
    layer: int | None = None
    trust_remote_code: bool = False

    def as_manifest(self) -> dict[str, Any]:
        """What the index's manifest says of it."""
        return {k: v for k, v in asdict(self).items() if k not in ("modality", "space")}

    @classmethod
    def from_manifest(cls, modality: str, space: str, entry: Mapping[str, Any]) -> "QueryPlan":
        """The plan that an index's manifest holds."""
        names = ("encoder", "dim", "prompt", "max_length", "layer", "trust_remote_code")
        return cls(modality, space=space, **{n: entry[n] for n in names if n in entry})


def modality_of_key(key: str, entry: Mapping[str, Any]) -> str:
    """The modality of a store's key; its name begins with it."""
    return str(entry.get("modality") or key.partition(":")[0])


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
    before text queries; by default what the store's text key says of queries.
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
                    **(_text_settings(entry, prompt) if modality == "text" else {}),
                )
                break
    return plans


def _text_settings(entry: Mapping[str, Any], prompt: str | None) -> dict[str, Any]:
    if prompt is None:
        prompt = str((entry.get("prompts") or {}).get("query") or "")
    return {
        "prompt": prompt,
        "max_length": (entry.get("preprocessing") or {}).get("max_length"),
    }


def load_query_encoder(plan: QueryPlan, device: str, precision: str) -> Encoder:
    """The encoder of a plan. Raises SpaceMismatch when it is not of the index's space or width."""
    placement = place(device, precision, probe())
    encoder = _load(plan, plan.prompt, placement)
    own = str(encoder.card.prompts.get("query") or "")
    if plan.modality == "text" and not plan.prompt and own:
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
    return encoder


def _load(plan: QueryPlan, prompt: str, placement: Placement) -> Encoder:
    options = EncoderOptions(
        layers=() if plan.layer is None else (plan.layer,),
        max_length=plan.max_length,
        prompt=prompt,
        dim=plan.dim if plan.layer is None else None,
        trust_remote_code=plan.trust_remote_code,
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
            from mmcli.encoders.families import detect
            from mmcli.encoders.hub import fetch_config

            detect(fetch_config(resolved), modality, reference)
    except MmcliError:
        return False
    return True
