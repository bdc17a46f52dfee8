"""From what a user writes (`minilm-l6`, `hf:ORG/REPO`, `local:DIR`) to a loaded encoder.

Understanding a reference imports nothing heavy; only `load` reaches torch, and through the one
family file that the reference needs. Knows nothing about stores or batches.
"""

import difflib
import re
from dataclasses import replace
from pathlib import Path

from mmcli.core.errors import MissingResource, UsageError
from mmcli.core.registry import Registry, load_attribute, suggestion
from mmcli.core.types import MODALITIES, Encoder
from mmcli.encoders.catalogue import PRESET_LIST, SPECS
from mmcli.encoders.families import detect
from mmcli.encoders.specs import EncoderOptions, EncoderSpec, Preset, ResolvedEncoder
from mmcli.engine.device import Placement

ENCODERS: Registry[EncoderSpec] = Registry("encoder", SPECS, plugin_group="mmcli.encoders")
PRESETS: Registry[Preset] = Registry("preset", PRESET_LIST)

SCHEMES = ("hf", "timm", "local", "model")
#: A tower of a model is base encoder and strategy together, which rooms above this one compose.
_TUNED = "mmcli.tasks.tuned_encoder:load"
#: A video by an encoder of pictures.
_FRAMES = "mmcli.encoders.frames:load"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def resolve(reference: str, modality: str) -> ResolvedEncoder:
    """What a reference stands for, without loading it.

    Raises UsageError for a name nobody knows, a malformed reference or a modality that the encoder
    does not take; MissingResource for a directory that is not there.
    """
    if modality not in MODALITIES:
        raise UsageError(f"no modality is named `{modality}`", suggestion(modality, MODALITIES))
    scheme, colon, rest = reference.partition(":")
    if not colon:
        return _named(reference, modality)
    if scheme not in SCHEMES:
        near = difflib.get_close_matches(scheme, SCHEMES, n=1, cutoff=0.4)
        raise UsageError(
            f"`{reference}` starts with `{scheme}:`, which is no kind of reference",
            f"did you mean `{near[0]}:{rest}`?" if near else "use hf:, timm:, local: or model:",
        )
    if not rest:
        raise UsageError(f"`{reference}` names nothing after `{scheme}:`", _usage(scheme))
    if scheme == "local":
        return _local(reference, rest, modality)
    if scheme == "model":
        return _model(reference, rest, modality)
    if scheme == "timm":
        return _timm(reference, rest, modality)
    return _hub(reference, rest, modality)


def load(reference: str, modality: str, options: EncoderOptions, placement: Placement) -> Encoder:
    """The encoder of a reference, ready on its device.

    Raises what `resolve` raises, MissingResource when weights or a package cannot be had, and
    BadInput when weights are not what they should be.
    """
    resolved = resolve(reference, modality)
    check_remote_code(resolved, options)
    if not resolved.loader:
        from mmcli.encoders.hub import fetch_config

        loader = loader_of(fetch_config(resolved), modality, reference)
        resolved = replace(resolved, loader=loader)
    encoder: Encoder = load_attribute(resolved.loader, resolved.requires)(
        resolved, options, placement
    )
    unknown = [n for n in options.layers if not 1 <= n <= encoder.card.layers]
    if unknown and encoder.card.layers:  # one without layers gives its output alone
        has = f"has layers 1 to {encoder.card.layers}"
        raise UsageError(f"`{reference}` {has}, not {unknown[0]}", "change `--layers`")
    return encoder


def check_remote_code(resolved: ResolvedEncoder, options: EncoderOptions) -> None:
    """Refuse `--trust-remote-code` unless a commit of a hub repository is named."""
    if not options.trust_remote_code or resolved.scheme == "package":
        return
    if resolved.scheme != "hf" or not _COMMIT.fullmatch(resolved.revision or ""):
        raise UsageError(
            f"`--trust-remote-code` needs a pinned commit, `{resolved.reference}` names none",
            "write hf:ORG/REPO@COMMIT with all 40 digits, after reading its code",
        )


def loader_of(folder: Path, modality: str, reference: str) -> str:
    """The loader for a folder's model; one of pictures takes videos frame by frame.

    Raises what `detect` raises.
    """
    try:
        return detect(folder, modality, reference)
    except UsageError:
        if modality != "video":
            raise
        try:
            detect(folder, "image", reference)
        except UsageError:
            pass
        else:
            return _FRAMES
        raise


def _named(reference: str, modality: str) -> ResolvedEncoder:
    if reference not in ENCODERS:
        hint = _not_a_name(reference)
        if hint:
            raise UsageError(f"no encoder is named `{reference}`", hint)
    spec = ENCODERS.get(reference)
    by_frames = modality == "video" and modality not in spec.modalities
    if modality not in spec.modalities and not (by_frames and "image" in spec.modalities):
        others = [s.name for s in ENCODERS if modality in s.modalities]
        raise UsageError(
            f"encoder `{reference}` takes {spec.modality}, not {modality}",
            f"for {modality} there is " + ", ".join(others) if others else "",
        )
    return ResolvedEncoder(
        reference=reference,
        name=reference,
        modality=modality,
        scheme="hf" if spec.hub else "package",
        location=spec.hub,
        loader=_FRAMES if by_frames else spec.loader,
        requires=spec.requires,
        spec=spec,
    )


def _not_a_name(reference: str) -> str:
    """A hint for what looks like a path or a repository without its prefix."""
    if reference.startswith((".", "/", "~")) or Path(reference).is_dir():
        return f"for a directory write `local:{reference}`"
    if _REPOSITORY.fullmatch(reference):
        return f"for a model of the hub write `hf:{reference}`"
    if reference in PRESETS:
        return f"`{reference}` is a preset: write `--preset {reference}`"
    return ""


def _local(reference: str, rest: str, modality: str) -> ResolvedEncoder:
    folder = Path(rest).expanduser()
    if not folder.is_dir():
        raise MissingResource(f"`{reference}`: there is no such directory", _usage("local"))
    return ResolvedEncoder(
        reference=reference,
        name=folder.resolve().name,
        modality=modality,
        scheme="local",
        location=str(folder.resolve()),
        loader=loader_of(folder, modality, reference),
    )


def _model(reference: str, rest: str, modality: str) -> ResolvedEncoder:
    """A tower that `finetune` trained; `model:DIR#KEY` where a modality has several."""
    path, _, key = rest.partition("#")
    folder = Path(path).expanduser()
    if not (folder / "config.json").is_file():
        raise MissingResource(f"`{reference}`: `{path}` holds no model", _usage("model"))
    return ResolvedEncoder(
        reference=reference,
        name=key or modality,
        modality=modality,
        scheme="model",
        location=str(folder.resolve()),
        loader=_TUNED,
    )


def _timm(reference: str, rest: str, modality: str) -> ResolvedEncoder:
    if modality not in ("image", "video"):
        raise UsageError(f"`{reference}` takes image, not {modality}", "timm has image models only")
    return ResolvedEncoder(
        reference=reference,
        name=rest.rpartition("/")[2],
        modality=modality,
        scheme="timm",
        location=rest,
        loader="mmcli.encoders.timm_backbone:load" if modality == "image" else _FRAMES,
    )


def _hub(reference: str, rest: str, modality: str) -> ResolvedEncoder:
    repository, at, revision = rest.partition("@")
    if not _REPOSITORY.fullmatch(repository) or (at and not revision):
        raise UsageError(f"`{reference}` is not a model of the hub", _usage("hf"))
    return ResolvedEncoder(
        reference=reference,
        name=repository.partition("/")[2],
        modality=modality,
        scheme="hf",
        location=repository,
        revision=revision or None,
    )


def _usage(scheme: str) -> str:
    return {
        "hf": "write hf:ORG/REPO or hf:ORG/REPO@REVISION",
        "timm": "write timm:NAME, as timm.list_models() has it",
        "local": "write local:DIR, a folder with config.json and model.safetensors",
        "model": "write model:DIR, a model that `mmcli finetune` wrote",
    }[scheme]
