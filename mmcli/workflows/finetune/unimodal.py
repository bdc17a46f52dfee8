"""Sentiment of each modality by itself: columns of the data, or labels generated while learning.

Decides which it is, reads and checks the columns, and says which method learns them. Knows nothing
about how they are learned: that is in `fusion/own_labels.py`. Prints nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.labels import LabelOptions, read_labels
from mmcli.fusion.own_labels import OwnLabels
from mmcli.fusion.registry import METHODS, FusionSpec
from mmcli.store.reader import Store
from mmcli.tasks.sentiment import UNIMODAL, check_scores, unimodal_columns
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.fuse.data import FuseData

OPTION, WEIGHT = "unimodal", "unimodal_weight"
WORDS = ("auto", "columns", "self", "none")
#: What learns them where no method is named.
MULTI_TASK = "hybrid:multi-task"


@dataclass(frozen=True)
class Unimodal:
    """What is known of the modalities by themselves.

    source: `columns`, `self` (generated) or `none`. columns: by modality.
    """

    source: str
    weight: float
    columns: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """What the report says."""
        return {"source": self.source, "weight": self.weight, "columns": self.columns}


def unimodal_labels(
    config: FinetuneConfig,
    data: FuseData,
    store: Store,
    methods: Sequence[FusionSpec],
    message: Callable[[str], None],
) -> tuple[FuseData, list[FusionSpec], Unimodal | None]:
    """The data with the modalities' own labels, and the methods with one that learns them.

    `auto` takes the columns that there are, and adds `hybrid:multi-task` where the user named no
    method. None, and nothing is changed, where there is nothing to learn. Raises UsageError for an
    option that does not fit the task, the label or the methods; BadInput for columns that are
    missing or hold no sentiment, and for labels that none can be generated from.
    """
    word, weight = _options(config)
    chosen = list(methods)
    if config.task != "sentiment" or word == "none":
        return data, chosen, None
    asked = word != "auto"
    columns = {}
    if word != "self":
        columns = unimodal_columns(store.columns, data.inputs.names, data.labels.column)
        if not columns and asked:
            names = [p.format(m) for p in UNIMODAL for m in data.inputs.names]
            raise BadInput(
                f"`{store.path}` has no label of a modality by itself",
                f"`--unimodal columns` looks for {', '.join(names)}",
            )
    if data.labels.kind != "regression":
        if asked:
            raise UsageError(
                f"`--unimodal {word}` is of numbers, `{data.labels.column}` is {data.labels.kind}",
                "leave it out, or use `--label-kind regression` if it holds numbers",
            )
        return data, chosen, None
    if not columns and word != "self":
        return data, chosen, None
    if not any(spec.parts for spec in chosen) and config.method and not _races(config):
        if asked:
            raise UsageError(
                f"`--unimodal {word}` does nothing for `--method {config.method}`",
                f"`--method {MULTI_TASK}` learns labels of the modalities by themselves",
            )
        message(f"{', '.join(columns.values())} are not used: `--method {MULTI_TASK}` learns them")
        return data, chosen, None
    if not config.method:
        chosen = list({s.name: s for s in (*chosen, METHODS.get(MULTI_TASK))}.values())
    if word == "self":
        _check_sides(data, store)
        message(f"labels of the modalities by themselves are generated; {MULTI_TASK} learns them")
        own = OwnLabels(weight=weight)
        return replace(data, own=own), chosen, Unimodal("self", weight, {})
    values = _read(store, data, columns)
    counts = np.isfinite(values[data.train]).sum(0)
    if not counts.any():
        raise BadInput(
            f"no train row has a {' or '.join(columns.values())}",
            "label some, or leave them aside with `--unimodal none`",
        )
    listed = ", ".join(
        f"{columns[name]} ({count})"
        for name, count in zip(data.inputs.names, counts.tolist(), strict=True)
        if name in columns
    )
    message(f"{MULTI_TASK} learns the modalities' own labels of train rows: {listed}")
    own = OwnLabels(values, weight=weight)
    return replace(data, own=own), chosen, Unimodal("columns", weight, columns)


def _options(config: FinetuneConfig) -> tuple[str, float]:
    word = str(config.options.get(OPTION, "auto"))
    if word not in WORDS:
        raise UsageError(f"`--unimodal {word}` is unknown", suggestion(word, WORDS))
    told = config.options.get(WEIGHT, 1.0)
    try:
        weight = float(str(told))
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise UsageError(f"`--unimodal-weight {told}` is no weight", "a number from 0, as in 1.0")
    if config.task != "sentiment" and (word in ("columns", "self") or weight != 1.0):
        raise UsageError(
            f"`--unimodal` is of `--task sentiment`, not {config.task}", "leave it out"
        )
    return word, weight


def _races(config: FinetuneConfig) -> bool:
    """Whether every method of the registry competes."""
    return "all" in [word.strip() for word in config.method.split(",")]


def _read(store: Store, data: FuseData, columns: dict[str, str]) -> np.ndarray[Any, Any]:
    """`(rows, modalities)`, NaN where there is none."""
    values = np.full((store.rows, len(data.inputs.names)), np.nan)
    for place, name in enumerate(data.inputs.names):
        if name not in columns:
            continue
        column = columns[name]
        if store.items([column]).column(column).null_count == store.rows:
            continue
        labels = read_labels(store, LabelOptions(column, "regression", lenient=True))
        check_scores(np.asarray(labels.values), store.ids(), column)
        values[:, place] = labels.values
    return values


def _check_sides(data: FuseData, store: Store) -> None:
    """Labels are generated from distances to the positive and to the negative rows."""
    train = data.labels.values[data.train]
    for side, there in (("above", (train > 0).any()), ("below", (train < 0).any())):
        if not there:
            raise BadInput(
                f"no train row of `{store.path}` has a `{data.labels.column}` {side} zero",
                "`--unimodal self` needs negative and positive ones",
            )
