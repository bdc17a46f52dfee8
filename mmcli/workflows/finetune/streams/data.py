"""What a fine-tuning on recordings starts from, all of it checked: rows, classes, splits, encoders.

Nothing is decoded here but headers, so that bad data is refused before anything slow begins.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmcli.core.bounds import parsed
from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.source import Source
from mmcli.data.splits import SplitOptions, Splits, split_rows
from mmcli.data.streams.recordings import EVENTS, Recordings, read_recordings, refuse_stdin
from mmcli.tasks.streams_tracks import METHODS
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.features import is_store
from mmcli.workflows.finetune.source_rows import SourceRows, open_rows
from mmcli.workflows.finetune.streams.features import stream_encoders

Rows = NDArray[np.int64]
#: Epochs by `--quality`.
_EPOCHS = {"fast": 15, "medium": 40, "best": 80}
_PATIENCE = 12
_BATCH = 16
_WEIGHT_DECAY = 0.05
#: Bounds of what `--set` may say of a network.
_SETTINGS: dict[str, tuple[float, float, float]] = {
    "rate_hz": (10.0, 1.0, 100.0),
    "width": (64, 8, 1024),
    "depth": (5, 1, 12),
    "dropout": (0.2, 0.0, 0.9),
}


@dataclass(frozen=True)
class StreamSettings:
    """How long and on what grid to learn. depth: convolutions; their reach doubles with each."""

    method: str
    rate_hz: float
    width: int
    depth: int
    dropout: float
    epochs: int
    batch: int
    patience: int
    weight_decay: float
    focal_gamma: float | None


@dataclass(frozen=True)
class StreamRows:
    """Recordings, their classes and splits. fingerprint: of the table that names them.

    encoders: references by modality. lines: what a reader must know.
    """

    recordings: Recordings
    classes: tuple[str, ...]
    train: Rows
    val: Rows
    test: Rows
    split_source: str
    encoders: Mapping[str, tuple[str, ...]]
    fingerprint: str
    lines: list[str]


def stream_rows(config: FinetuneConfig) -> StreamRows:
    """Read and check everything that the table says.

    Raises BadInput, naming file and row, for recordings and events that cannot be, for a class of
    val or test rows that no train row has, and where there is nothing to train on.
    """
    column = config.label or EVENTS
    with opened(config.data, config.root, config.mapping) as source:
        encoders = stream_encoders(config.preset, config.encoders, config.only, source.modalities)
        recordings = read_recordings(source, config.data, column, labelled=True)
        splits = splits_of(source, config.data, config.splits)
        fingerprint = source.fingerprint
    known = np.array([one.events is not None for one in recordings.rows])
    usable = known & np.array([one.duration_s > 0 for one in recordings.rows])
    parts = {
        name: np.flatnonzero((splits.names == name) & usable) for name in ("train", "val", "test")
    }
    if not any(recordings.rows[row].events for row in parts["train"]):
        raise BadInput(f"no train row of `{config.data}` has an event in `{column}`", splits.source)
    classes = _classes(recordings, parts, config)
    lines = recordings.lines(range(len(recordings.rows)))
    if not known.all():
        lines.append(f"{int((~known).sum())} recordings have no `{column}`: left out")
    return StreamRows(
        recordings,
        classes,
        parts["train"],
        parts["val"],
        parts["test"],
        splits.source,
        encoders,
        fingerprint,
        lines,
    )


@contextmanager
def opened(spec: str, root: str | None, mapping: Mapping[str, str]) -> Iterator[Source]:
    """A source of recordings, spooled into a folder that is gone afterwards."""
    refuse_stdin(spec)
    if is_store(spec):
        raise BadInput(
            f"`{spec}` is a store, which has no moving pictures",
            "give the table that it was made from",
        )
    with open_rows(spec, root, mapping) as source:
        yield source


def splits_of(source: Source, spec: str, options: SplitOptions) -> Splits:
    """The split of every row of a source."""
    return split_rows(SourceRows(source, spec), options, train=True)  # type: ignore[arg-type]


def _classes(
    recordings: Recordings, parts: Mapping[str, Rows], config: FinetuneConfig
) -> tuple[str, ...]:
    """The classes of the train rows, or those that the user names, in their order."""
    given = config.classes
    trained = {e.label for row in parts["train"] for e in recordings.rows[row].events or ()}
    for name in given:
        if name not in trained:
            raise BadInput(f"class `{name}` occurs in no train row", suggestion(name, trained))
    classes = given or tuple(sorted(trained))
    for part, rows in parts.items():
        for row in rows.tolist():
            for event in recordings.rows[row].events or ():
                if event.label not in classes:
                    what = "is none of `--classes`" if given else "occurs in no train row"
                    raise BadInput(
                        f"{recordings.where(row)}: class `{event.label}` of a {part} row {what}",
                        suggestion(event.label, classes),
                    )
    return classes


def stream_settings(config: FinetuneConfig) -> StreamSettings:
    """What is chosen where nothing is said. Raises UsageError for what streams cannot do."""
    _refuse(config)
    told = {name: _setting(config, name) for name in _SETTINGS}
    tricks = config.tricks
    method = config.method or METHODS[0]
    if method not in METHODS:
        raise UsageError(f"`--method {method}` is not for recordings", suggestion(method, METHODS))
    if tricks.loss not in ("auto", "cross-entropy", "focal"):
        raise UsageError(f"`--loss {tricks.loss}` is not for events", "cross-entropy or focal")
    return StreamSettings(
        method=method,
        rate_hz=told["rate_hz"],
        width=int(told["width"]),
        depth=int(told["depth"]),
        dropout=told["dropout"],
        epochs=tricks.epochs or _EPOCHS[config.quality],
        batch=tricks.batch or _BATCH,
        patience=tricks.patience or _PATIENCE,
        weight_decay=_WEIGHT_DECAY if tricks.weight_decay is None else tricks.weight_decay,
        focal_gamma=tricks.focal_gamma if tricks.loss == "focal" else None,
    )


def _setting(config: FinetuneConfig, name: str) -> float:
    usual, *bounds = _SETTINGS[name]
    return parsed(f"--set {name}", config.options.get(name, usual), (bounds[0], bounds[1]))


def _refuse(config: FinetuneConfig) -> None:
    """Options that would do nothing here."""
    tricks = config.tricks
    frozen = all(name in ("probe", "frozen") for name in config.strategy.values())
    idle = {
        "--strategy": not frozen,
        "--from": bool(config.pretrained),
        "--curve": bool(config.curve),
        "--label-kind": config.label_kind != "auto",
        "--metric": config.metric != "auto",
        "--tabular": bool(config.options.get("tabular")),
        "--layers": bool(config.options.get("layers")),
        "--lr": tricks.lr is not None,
        "--layer-decay": tricks.layer_decay != 1,
        "--accumulate": tricks.accumulate != 1,
        "--gradient-checkpointing": tricks.checkpointing,
        "--label-smoothing": tricks.smoothing > 0,
        "--mixup": tricks.mixup > 0,
        "--class-weights": tricks.balanced,
    }
    for option, given in idle.items():
        if given:
            raise UsageError(
                f"`{option}` does nothing for recordings with timed events",
                "encoders stay frozen; `--head-lr`, `--epochs`, `--loss focal` say how it learns",
            )
    known = {*_SETTINGS, "tabular", "layers"}
    for name in config.options:
        if name not in known:
            raise UsageError(f"`--set {name}` is unknown here", suggestion(name, _SETTINGS))
