"""`evaluate zeroshot`: classes by their names alone, from the space that text and pictures share.

A row is given the class whose prompts lie nearest to it. Prints nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.splits import SplitOptions
from mmcli.metrics.classification import (
    class_counts,
    class_table,
    confusion_matrix,
    overall_scores,
    rank_of_truth,
    resampled_scores,
)
from mmcli.metrics.statistics import LEVEL, bootstrap_means
from mmcli.store.reader import Store
from mmcli.workflows.class_prompts import check_prompts, class_vectors, read_classes
from mmcli.workflows.evaluate.resampling import check_resamples, interval_warnings
from mmcli.workflows.evaluate.rows import choose_rows, column_codes, column_groups
from mmcli.workflows.evaluate.vectors import Side, load_side, open_aligner, resolve_name
from mmcli.workflows.output_files import refuse_page
from mmcli.workflows.predictions.files import check_predictions, write_predictions
from mmcli.workflows.queries.plans import key_of_modality
from mmcli.workflows.trained_rows import seen_warning

#: Rows scored at a time.
_ROWS = 8192
TOP = 5


@dataclass(frozen=True)
class ZeroshotConfig:
    """What `mmcli evaluate zeroshot` can be told. scale: of cosines before the softmax."""

    store: str
    label: str
    prompts: tuple[str, ...] = ("a picture of {}",)
    key: str | None = None
    aligner: str | None = None
    classes: str | None = None
    class_names: tuple[str, ...] = ()
    scale: float = 100.0
    bootstrap: int = 1000
    split: str | None = None
    splits: SplitOptions = field(default_factory=SplitOptions)
    output: str | None = None
    html: str | None = None
    force: bool = False
    verify: str = "once"
    device: str = "auto"
    precision: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Predicted:
    """Classes of the rows that have a vector.

    truth: `(rows,)` class numbers, -1 without a known label. predicted, rank: `(rows,)`, the class
    given and the rank of the right one (NaN without).
    """

    side: Side
    labels: list[str]
    classes: NDArray[np.float32]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    rank: NDArray[np.float64]

    @property
    def scored(self) -> NDArray[np.int64]:
        """The rows whose right class is known."""
        return np.flatnonzero(self.truth >= 0)


def evaluate_zeroshot(
    config: ZeroshotConfig, message: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Classify every row under evaluation and report; write the files that were asked for.

    message: told what goes on. Raises BadInput when the label column is missing or no row has both
    a label and a vector, SpaceMismatch when no text encoder shares the space of the key.
    """
    _check(config)
    store = Store.open(config.store, config.verify)
    aligner = open_aligner(config.aligner)
    column_codes(store, config.label, np.zeros(0, np.int64))
    name = resolve_name(store, config.key or _default_key(store, config.store), aligner)
    chosen = choose_rows(store, config.splits, config.split)
    codes, values = column_codes(store, config.label, chosen.rows)
    words = read_classes(config.classes, config.class_names, sorted({str(v) for v in values}))
    labels = list(words)
    number_of = {label: number for number, label in enumerate(labels)}
    class_of = np.array([*(number_of.get(str(v), -1) for v in values), -1], np.int64)
    given = np.full(store.rows, -1, np.int64)
    given[chosen.rows] = class_of[codes]
    side = load_side(store, name, chosen.rows, aligner)
    _check_rows(config, side, given)
    message(f"{len(labels)} classes in {len(config.prompts)} prompts")
    asked = list(words.values())
    read_by = class_vectors(
        store, name, aligner, asked, config.prompts, config.device, config.precision
    )
    found = _predict(side, labels, read_by.vectors, given[side.rows])
    report = {
        "store": config.store,
        "key": name,
        "aligner": config.aligner,
        "space": side.space,
        "text_encoder": ", ".join(read_by.encoders),
        "label": config.label,
        "prompts": list(config.prompts),
        "split": chosen.split,
        "split_source": chosen.source,
        "classes": len(labels),
        "rows": len(chosen.rows),
        "scored": len(found.scored),
        "without_vector": side.lacking,
        "without_label": int((codes[np.isin(chosen.rows, side.rows)] < 0).sum()),
        **_scores(config, store, found),
        "warnings": [*read_by.warnings, *seen_warning(aligner, store, chosen.rows)],
    }
    report["warnings"] += interval_warnings(config.bootstrap, report["intervals"]["drawn"])
    unknown = len(side.rows) - len(found.scored) - report["without_label"]
    report["with_unknown_label"] = unknown
    if unknown:
        report["warnings"].append(f"{unknown} rows have a label that is no class: not scored")
    if config.output:
        write_predictions(Path(config.output), store, found, config, report)
    if config.html:
        from mmcli.workflows.evaluate.zeroshot_page import write_page

        write_page(Path(config.html), store, found, report, config)
    return report


def _check(config: ZeroshotConfig) -> None:
    check_prompts(config.prompts)
    check_resamples(config.bootstrap)
    if not 0 < config.scale < float("inf"):
        raise UsageError(f"`--scale {config.scale}`: must be above 0", "CLIP was trained with 100")
    refuse_page(config.html, config.force)
    if config.output:
        check_predictions(Path(config.output), config.force)


def _default_key(store: Store, name: str) -> str:
    for modality in ("image", "speech", "video"):
        key = key_of_modality(store.keys, modality)
        if key is not None:
            return key
    raise BadInput(f"`{name}` has no key of pictures", "name the one to classify with `--key`")


def _check_rows(config: ZeroshotConfig, side: Side, given: NDArray[np.int64]) -> None:
    if not len(side.rows):
        raise BadInput(
            f"no row under evaluation of `{config.store}` has `{side.name}`",
            "extract that modality, or choose another `--split`",
        )
    if not (given[side.rows] >= 0).any():
        raise BadInput(
            f"no row of `{config.store}` has `{side.name}` and a known `{config.label}`",
            "check `--label`, `--classes` and `--split`",
        )


def _predict(
    side: Side, labels: list[str], classes: NDArray[np.float32], truth: NDArray[np.int64]
) -> Predicted:
    predicted = np.empty(len(truth), np.int64)
    rank = np.full(len(truth), np.nan)
    for at in range(0, len(truth), _ROWS):
        cosines = (side.vectors[at : at + _ROWS] @ classes.T).astype(np.float64)
        right = truth[at : at + _ROWS]
        predicted[at : at + _ROWS] = cosines.argmax(axis=1)
        known = np.flatnonzero(right >= 0)
        rank[at + known] = rank_of_truth(cosines[known], right[known])
    return Predicted(side, labels, classes, truth, predicted, rank)


def _scores(config: ZeroshotConfig, store: Store, found: Predicted) -> dict[str, Any]:
    """Overall and per class, the confusion matrix, and what guessing would reach."""
    rows, n = found.scored, len(found.labels)
    truth, predicted = found.truth[rows], found.predicted[rows]
    groups = column_groups(store, config.splits.group_by, found.side.rows[rows])
    counts = class_counts(truth, predicted, n)
    ends = resampled_scores(truth, predicted, n, config.bootstrap, config.seed, groups)
    scores = {
        name: {"value": value, "low": ends[name][0], "high": ends[name][1]}
        for name, value in overall_scores(counts).items()
    }
    if n > TOP:
        within = (found.rank[rows, None] <= TOP).astype(np.float64)
        top = bootstrap_means(within, config.bootstrap, config.seed, groups)
        entry = {"value": top.value[0], "low": top.low[0], "high": top.high[0]}
        scores[f"top_{TOP}_accuracy"] = {name: float(value) for name, value in entry.items()}
    return {
        "scores": scores,
        "intervals": {
            "level": LEVEL,
            "resamples": config.bootstrap,
            "groups": config.splits.group_by,
            "drawn": len(rows) if groups is None else int(groups.max(initial=-1)) + 1,
            "seed": config.seed,
        },
        "chance_accuracy": 1 / n,
        "majority_accuracy": float(counts.support.max() / len(rows)),
        "per_class": class_table(found.labels, counts),
        "confusion": {
            "classes": found.labels,
            "matrix": confusion_matrix(truth, predicted, n).tolist(),
        },
    }
