"""The store that a few-shot ladder climbs on: the one given, or one extracted from raw files.

Of a source the first modality that can be told apart is embedded, by the preset's encoder, whose
space the classes' names share, and beside it by the task's own, whose features carry more.
"""

import tempfile
from pathlib import Path

from mmcli.data.source import SourceOptions, open_source
from mmcli.encoders.registry import PRESETS
from mmcli.store.reader import Store
from mmcli.tasks.registry import TASKS
from mmcli.workflows.few_shot.features import MODALITIES
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.features import Wanted, failure_lines, open_features
from mmcli.workflows.listeners import Listeners


def store_of(config: FinetuneConfig, folder: Path, listeners: Listeners) -> Store:
    """The store; one that has to be made lies in `folder`.

    Raises BadInput for a source without any modality, or of which nothing could be embedded.
    """
    store, _ = open_features(config, wanted_of(config), folder, listeners)
    for line in failure_lines(store):
        listeners.message(line)
    return store


def wanted_of(config: FinetuneConfig) -> Wanted:
    """What is to be extracted of a source; a store has been, and is not looked at."""
    preset = PRESETS.get(config.preset)
    richer = TASKS.get(config.task).encoders if config.preset == "starter" else {}
    found = {}
    only = config.only or _first_modality(config)
    for modality in only:
        shared = preset.encoders.get(modality)
        default = dict.fromkeys([*([shared] if shared else []), *richer.get(modality, ())])
        found[modality] = tuple(config.encoders.get(modality) or default)
    return Wanted({m: references for m, references in found.items() if references}, only)


def _first_modality(config: FinetuneConfig) -> tuple[str, ...]:
    """The first of `MODALITIES` that the source has; none is named of what is read only once."""
    if config.encoders or config.data == "-" or (Path(config.data) / "manifest.json").is_file():
        return tuple(config.encoders)
    options = SourceOptions(config.data, config.root, dict(config.mapping))
    with tempfile.TemporaryDirectory(prefix="mmcli-") as spool:
        source = open_source(options, Path(spool))
        names = source.schema.names
        source.close()
    return (next(name for name in MODALITIES if name in names),)  # a source has one
