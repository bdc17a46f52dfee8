"""`finetune`: finds the workflow of a task and runs it. Prints nothing."""

import tempfile
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from mmcli.core.errors import UsageError
from mmcli.core.registry import load_attribute
from mmcli.data.source import SourceOptions, open_source
from mmcli.store.reader import Store
from mmcli.tasks.generative.registry import DEFAULT_MODEL
from mmcli.tasks.registry import TASKS
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.features import is_store
from mmcli.workflows.finetune.plan import settled
from mmcli.workflows.listeners import Listeners
from mmcli.workflows.output_files import local_folder, refuse_input

#: Workflows of tasks that take another way with some options.
FEW_SHOT = "mmcli.workflows.few_shot.run:run"
STREAMS = "mmcli.workflows.finetune.streams.run:run"
GENERATIVE = "mmcli.workflows.finetune.generative.run:run"


def finetune(config: FinetuneConfig, listeners: Listeners | None = None) -> dict[str, Any]:
    """Train a model for a task and report.

    Raises UsageError for a task nobody knows, or options that do not fit it.
    """
    spec = TASKS.get(config.task)
    refuse_input(config.output, _read_from(config))
    if config.task == "caption" and not config.model:
        config = replace(config, model=DEFAULT_MODEL)
    if config.model:  # which settles for itself what is not said
        if config.task not in ("vqa", "caption"):
            raise UsageError(
                f"`--model` is of `--task vqa` and `caption`, not {config.task}", "leave it out"
            )
        found: dict[str, Any] = load_attribute(GENERATIVE)(config, listeners or Listeners())
        return found
    config = settled(config)
    way = spec.run
    if config.shots:
        if config.task != "classification":
            raise UsageError(
                f"`--shots` is of `--task classification`, not {config.task}", "leave it out"
            )
        way = FEW_SHOT
    elif config.task == "event" and _has_events(config):
        way = STREAMS
    report: dict[str, Any] = load_attribute(way)(config, listeners or Listeners())
    return report


def _read_from(config: FinetuneConfig) -> list[str | Path]:
    """What a run reads that its model must not take the place of."""
    references = [config.model, *chain(*config.encoders.values())]
    folders = [folder for reference in references for folder in local_folder(reference)]
    return [config.data, *([config.pretrained] if config.pretrained else []), *folders]


def _has_events(config: FinetuneConfig) -> bool:
    """Whether the data are recordings with timed events."""
    if config.label:
        return config.label == "events"
    if is_store(config.data):
        return "events" in Store.open(config.data, config.verify).columns
    if config.data == "-":  # what is read once cannot be looked at first
        return False
    options = SourceOptions(config.data, config.root, dict(config.mapping))
    with tempfile.TemporaryDirectory(prefix="mmcli-") as spool:
        source = open_source(options, Path(spool))
        names = source.schema.names
        source.close()
    return "events" in names
