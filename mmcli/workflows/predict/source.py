"""`predict` on raw files: the model's own encoders first, then what it says of their features.

The features lie in a hidden store beside the predictions until these are there, so that a run that
was cut off goes on with `--resume`. Prints nothing.
"""

import shutil
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mmcli.core.errors import BadInput, naming
from mmcli.core.types import PART_COLUMNS
from mmcli.fusion.model import FusionModel
from mmcli.store.manifest import MANIFEST, STATE
from mmcli.workflows.extract.plan import ExtractConfig
from mmcli.workflows.extract.run import extract
from mmcli.workflows.listeners import Listeners


@dataclass(frozen=True)
class SourceConfig:
    """What is said of a source besides where it is."""

    mapping: Mapping[str, str] = field(default_factory=dict)
    root: str | None = None
    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    resume: bool = False


@contextmanager
def extracted(  # type: ignore[no-untyped-def]
    model: FusionModel,
    data: str,
    output: str,
    config: SourceConfig,
    message: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
):
    """A store of the features that the model reads of a source; removed when all went well.

    Raises BadInput for a model whose features cannot be made again from files.
    """
    place = hidden_store(output)
    if place.exists() and not config.resume:
        shutil.rmtree(place)
    if not (place / MANIFEST).is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        extract(
            ExtractConfig(
                source=data,
                output=str(place),
                encoders=references_of(model),
                only=tuple(m for m in model.config["keys"] if m in PART_COLUMNS),
                mapping=config.mapping,
                root=config.root,
                sequence=any("tokens" in views for views in model.config["views"].values()),
                layers=layers_of(model),
                workers=config.workers,
                device=config.device,
                precision=config.precision,
                resume=(place / STATE).is_file(),
            ),
            Listeners(message, progress),
        )
    with naming(place, data):
        yield str(place)
    shutil.rmtree(place, ignore_errors=True)


def hidden_store(output: str) -> Path:
    """Where the features lie meanwhile."""
    path = Path(output)
    return path.parent / f".{path.name}.features"


def references_of(model: FusionModel) -> dict[str, tuple[str, ...]]:
    """How to ask for the encoders of a model's keys, in the order of the keys."""
    found: dict[str, dict[str, None]] = {}
    for modality, keys in model.config["keys"].items():
        for key, bound in keys.items():
            if bound.get("layer") is not None:
                continue
            reference = bound.get("reference") or bound.get("encoder")
            if not reference:
                raise BadInput(
                    f"`{model.path}` does not say which encoder made key `{key}`",
                    "extract a store the way its own was, and give that",
                )
            if reference == "model:.":
                reference = f"model:{model.path.resolve()}#{key}"
            elif bound.get("revision") and str(reference).startswith("hf:"):
                reference = f"{str(reference).partition('@')[0]}@{bound['revision']}"
            found.setdefault(modality, {})[str(reference)] = None
    return {modality: tuple(references) for modality, references in found.items()}


def layers_of(model: FusionModel) -> tuple[int, ...]:
    """The inner layers that the model reads."""
    layers = {
        int(bound["layer"])
        for keys in model.config["keys"].values()
        for bound in keys.values()
        if bound.get("layer") is not None
    }
    return tuple(sorted(layers))
