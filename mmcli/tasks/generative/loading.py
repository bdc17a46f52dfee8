"""A base model by its reference: found, its processor, its dialect, its network.

Only `from_pretrained` of a local folder or of a hub snapshot; code of a repository is never run.
Knows nothing about tasks beyond their prompt.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput, MissingResource, UsageError
from mmcli.core.registry import load_attribute
from mmcli.encoders.hub import config_of, fetch
from mmcli.encoders.specs import ResolvedEncoder
from mmcli.encoders.weights import folder_sha256, from_pretrained, weight_files
from mmcli.engine.torch_stack import load_torch, load_transformers
from mmcli.tasks.generative.registry import Family, family_of
from mmcli.tasks.generative.tokens import Dialect

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_FORMS = "write hf:ORG/REPO, hf:ORG/REPO@REVISION or local:DIR"


@dataclass(frozen=True)
class Base:
    """A model folder whose family is known. revision: the commit it was fetched at."""

    reference: str
    folder: Path
    revision: str | None
    family: Family
    class_name: str

    @cached_property
    def sha256(self) -> str:
        """One digest over its weight files."""
        return folder_sha256(weight_files(self.folder))

    @cached_property
    def processor(self) -> Any:
        """Its tokenizer and what prepares its pictures, as transformers loads them."""
        return from_pretrained(load_transformers().AutoProcessor.from_pretrained, self.folder)

    @cached_property
    def config(self) -> Any:
        """Its configuration, as transformers reads it."""
        return from_pretrained(load_transformers().AutoConfig.from_pretrained, self.folder)

    @cached_property
    def stops(self) -> tuple[int, ...]:
        """The tokens that end an answer, as generation_config.json and config.json say."""
        said = config_of(self.folder, "generation_config.json").get("eos_token_id")
        if said is None:
            said = getattr(self.config.get_text_config(), "eos_token_id", None)
        return tuple(said) if isinstance(said, list) else () if said is None else (int(said),)


def find_base(reference: str) -> Base:
    """The folder of a reference and its family.

    Raises UsageError for a reference that is none or a model of no family, MissingResource where
    it is not there or the hub was not reached, BadInput for a folder that is no model.
    """
    resolved = _resolve(reference)
    try:
        folder = fetch(resolved)
    except MissingResource as error:
        if "not reached" not in error.message:
            raise
        raise MissingResource(
            error.message, "download the model where there is a network, and give it as `local:DIR`"
        ) from error
    if not (folder.path / "config.json").is_file():
        raise BadInput(
            f"`{reference}`: no config.json in it", "give the folder that save_pretrained wrote"
        )
    family, class_name = family_of(config_of(folder.path, "config.json"), reference)
    return Base(reference, folder.path, folder.revision, family, class_name)


def speak(base: Base, task: str, prompt: str = "") -> Dialect:
    """How a base speaks in a task. prompt: in place of the family's own."""
    made: Dialect = load_attribute(base.family.dialect)(base, prompt or base.family.prompt(task))
    return made


def load_network(base: Base, dtype: str, device: str) -> Any:
    """The network with its weights in a torch type, for inference.

    Raises BadInput where the folder lacks some of its weights.
    """
    torch = load_torch()
    kind = getattr(load_transformers(), base.class_name)
    network, found = from_pretrained(
        kind.from_pretrained, base.folder, dtype=getattr(torch, dtype), output_loading_info=True
    )
    missing = sorted(found.get("missing_keys") or ())
    if missing:
        raise BadInput(
            f"`{base.reference}`: {len(missing)} weights of a {base.class_name} are not in it"
            f" (first: {missing[0]})",
            "get the model again, or one that was saved by that class",
        )
    return network.eval().requires_grad_(False).to(device)


def _resolve(reference: str) -> ResolvedEncoder:
    scheme, colon, rest = reference.partition(":")
    if not colon or scheme not in ("hf", "local") or not rest:
        hint = _FORMS
        if not colon and Path(reference).is_dir():
            hint = f"for a directory write `local:{reference}`"
        elif not colon and _REPOSITORY.fullmatch(reference):
            hint = f"for a model of the hub write `hf:{reference}`"
        raise UsageError(f"`--model {reference}` names no model", hint)
    if scheme == "local":
        folder = Path(rest).expanduser()
        if not folder.is_dir():
            raise MissingResource(f"`{reference}`: there is no such directory", _FORMS)
        location, revision = str(folder.resolve()), ""
    else:
        location, at, revision = rest.partition("@")
        if not _REPOSITORY.fullmatch(location) or (at and not revision):
            raise UsageError(f"`{reference}` is not a model of the hub", _FORMS)
    return ResolvedEncoder(
        reference=reference,
        name=Path(location).name,
        modality="image",
        scheme=scheme,
        location=location,
        revision=revision or None,
    )
