"""The splits that a fusion was trained with, for whoever judges it on the same store.

Knows models, stores and splits; nothing about labels or scores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from mmcli.core.errors import MmcliError
from mmcli.data.splits import SplitOptions, split_rows
from mmcli.fusion.inputs import Rows
from mmcli.fusion.model import FusionModel
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.workflows.trained_rows import seen_warning


@dataclass(frozen=True)
class _Trained:
    """A fusion as `seen_warning` reads an aligner: its splits stand under `run`."""

    path: Path
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]


def own_splits(
    model: FusionModel, store: Store, options: SplitOptions
) -> tuple[SplitOptions, list[str]]:
    """The splits to go by, and what is odd about them.

    On the store that the model was trained on its own count, unless the options say otherwise.
    """
    plain = replace(options, group_by=None, seed=0)  # those two do not say where the splits are
    if plain != SplitOptions() or not _is_origin(model, store):
        return options, []
    own = _options(_told(model).get("splits") or {})
    try:
        split_rows(store, own, train=False)
    except MmcliError as error:  # a split file that is gone
        return options, [f"the splits of `{model.path}` are not read: {error.message}"]
    return own, []


def own_seen_warning(model: FusionModel, store: Store, rows: Rows) -> list[str]:
    """A warning where some of the rows trained the model, or chose among its seeds and epochs."""
    trained: Any = _Trained(model.path, {"store": model.config.get("store")}, {"run": _told(model)})
    return seen_warning(trained, store, rows)


def _told(model: FusionModel) -> Mapping[str, Any]:
    """What stands by the name of `splits`: `fuse` keeps it below `data`, `finetune` beside it."""
    run: Mapping[str, Any] = model.config.get("run") or {}
    data = run.get("data")
    return data if isinstance(data, Mapping) else run


def _is_origin(model: FusionModel, store: Store) -> bool:
    told = (model.config.get("store") or {}).get("manifest_sha256")
    return bool(told == file_record(store.path / MANIFEST)["sha256"])


def _options(told: Mapping[str, Any]) -> SplitOptions:
    known = {field.name for field in fields(SplitOptions)}
    return SplitOptions(**{name: value for name, value in told.items() if name in known})
