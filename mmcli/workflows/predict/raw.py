"""What `mmcli predict` is told of a model that reads raw files itself, with tokens or frames."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmcli.core.errors import UsageError
from mmcli.data.splits import SplitOptions
from mmcli.workflows.predict.run import PredictConfig


@dataclass(frozen=True)
class RawPredict:
    """A model, a source or store, and where its predictions go.

    label: the column of what is true, "" for the one that the model learned from, where there is
    one. split: only its rows, "" for all. without: modalities taken as absent.
    """

    model: str
    data: str
    output: str
    label: str = ""
    split: str = ""
    splits: SplitOptions = field(default_factory=SplitOptions)
    without: tuple[str, ...] = ()
    mapping: Mapping[str, str] = field(default_factory=dict)
    root: str | None = None
    workers: int | None = None
    device: str = "auto"
    precision: str = "auto"
    verify: str = "once"
    force: bool = False
    resume: bool = False
    dry_run: bool = False


def raw_options(config: PredictConfig) -> dict[str, Any]:
    """The fields of a RawPredict. Raises UsageError for what only fusions have."""
    if config.contributions:
        raise UsageError(
            "`--contributions` is of fusions", "`--without image` shows what the pictures are worth"
        )
    source = config.source
    return {
        "model": config.model,
        "data": config.store,
        "output": config.output,
        "split": config.split,
        "splits": config.splits,
        "without": config.without,
        "mapping": dict(source.mapping),
        "root": source.root,
        "workers": source.workers,
        "device": source.device,
        "precision": source.precision,
        "verify": config.verify,
        "force": config.force,
        "resume": source.resume,
        "dry_run": config.dry_run,
    }
