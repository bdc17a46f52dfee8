"""The features that a fine-tuning starts from: extracted once, kept with the unfinished run.

A store is taken as it is; any other source is extracted with frozen towers into the checkpoint
folder, where `--resume` finds it. Prints nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.store.manifest import MANIFEST, STATE, inspect_manifest, kind_of
from mmcli.store.reader import Store
from mmcli.workflows.extract.plan import ExtractConfig
from mmcli.workflows.extract.run import extract
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.listeners import Listeners

FEATURES = "features"


@dataclass(frozen=True)
class Wanted:
    """What is to be read of the parts. encoders: references by modality."""

    encoders: Mapping[str, tuple[str, ...]]
    only: tuple[str, ...] = ()
    sequence: bool = False
    layers: tuple[int, ...] = ()


def is_store(data: str) -> bool:
    """Whether this directory is a store, and not a source."""
    path = Path(data)
    if data == "-" or not (path / MANIFEST).is_file():
        return False
    return kind_of(inspect_manifest(path)[0]) == "mmcli.store"


def open_features(
    config: FinetuneConfig, wanted: Wanted, folder: Path, listeners: Listeners
) -> tuple[Store, dict[str, Any] | None]:
    """The store of a run's features, and the report of their extraction where there was one.

    folder: of the unfinished run. Raises BadInput when nothing could be embedded.
    """
    if is_store(config.data):
        return Store.open(config.data, config.verify), None
    path = folder / FEATURES
    if (path / MANIFEST).is_file():  # of the run that is being continued
        return Store.open(path, config.verify), None
    folder.mkdir(parents=True, exist_ok=True)
    report = extract(
        ExtractConfig(
            source=config.data,
            output=str(path),
            preset=config.preset,
            encoders=wanted.encoders,
            only=wanted.only,
            mapping=config.mapping,
            root=config.root,
            sequence=wanted.sequence,
            layers=wanted.layers,
            workers=config.workers,
            on_error=config.on_error,
            device=config.device,
            precision=config.precision,
            resume=(path / STATE).is_file(),
            seed=config.seed,
        ),
        listeners,
    )
    if report["items"] and report["failed"] == report["items"]:
        raise BadInput(
            f"no item of `{config.data}` could be embedded", "`mmcli extract` lists what failed"
        )
    return Store.open(path, config.verify), report


def failure_lines(store: Store, most: int = 3) -> list[str]:
    """What a reader must know of parts that could not be embedded: how many, and the first ones."""
    failed, partial = (int(store.manifest.get(name) or 0) for name in ("failed", "partial"))
    if not failed and not partial:
        return []
    lines = [
        f"{failed + partial} of {store.rows} items lack a part that they name ({failed} have none"
        " at all)"
    ]
    for found in store.failures().slice(0, most).to_pylist():
        lines.append(f"{found['id']}: {found['key']}: {found['message']}")
    return lines
