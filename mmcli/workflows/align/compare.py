"""`align compare`: methods side by side over the folds of a store, every choice on train rows.

Each fold is tested once by methods that never saw it; a difference to the first row of the table is
taken fold by fold. Writes nothing, prints nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmcli.align.fitting import AlignOptions, FitRun, check_numbers
from mmcli.align.scoring import Scores, score_shared
from mmcli.core.errors import UsageError
from mmcli.core.registry import load_attribute
from mmcli.data.splits import fold_numbers
from mmcli.engine.device import place, probe
from mmcli.store.reader import Store
from mmcli.workflows.align.data import AlignData, DataConfig, load_data
from mmcli.workflows.align.seed_intervals import mean_interval
from mmcli.workflows.align.train import parse_method

BEFORE = "before"


@dataclass(frozen=True)
class CompareConfig:
    """What `mmcli align compare` can be told. methods: of the registry, with variants."""

    store: str
    data: DataConfig
    methods: tuple[str, ...] = ("linear", "contrastive", "dual")
    options: AlignOptions = field(default_factory=AlignOptions)
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    verify: str = "once"


def compare(
    config: CompareConfig, message: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """The table, and the scores of each fold.

    Raises BadInput when there are no folds, UsageError for a method that nobody knows.
    """
    specs = {words: parse_method(words) for words in config.methods}
    if not specs:
        raise UsageError("`--method` names nothing", "as in linear,contrastive")
    check_numbers(config.options)
    store = Store.open(config.store, config.verify)
    if config.data.splits.fold is not None:
        raise UsageError("`--fold` names one fold; compare takes them all", "leave out `--fold`")
    folds = fold_numbers(store, config.data.splits)
    placement = place(config.device, config.precision, probe())
    scores: dict[str, list[Scores]] = {}
    seconds: dict[str, float] = dict.fromkeys(specs, 0.0)
    chosen: dict[str, list[Any]] = {}
    began = time.monotonic()
    for fold in folds:
        data_config = replace(config.data, splits=replace(config.data.splits, fold=fold))
        loaded: dict[bool, AlignData] = {}
        for words, (spec, variant) in specs.items():
            if spec.sequence not in loaded:
                loaded[spec.sequence] = load_data(store, data_config, sequence=spec.sequence)
            data = loaded[spec.sequence]
            if not spec.sequence and len(scores.get(BEFORE, [])) < folds.index(fold) + 1:
                before = score_shared(data.features, data.test)
                if before:
                    scores.setdefault(BEFORE, []).append(before)
            started = time.monotonic()
            dtype = placement.dtype if spec.iterative else "float32"
            run = FitRun(seed=config.seed, device=placement.device, dtype=dtype)
            options = replace(config.options, variant=variant)
            fitted = load_attribute(spec.fit)(data.features, options, run)
            scores.setdefault(words, []).append(fitted.score(data.features, data.test))
            chosen.setdefault(words, []).append(dict(fitted.chosen))
            seconds[words] += time.monotonic() - started
            message(f"fold {fold}: {words} {_phrase(scores[words][-1])}")
    return {
        "store": config.store,
        "folds": folds,
        "group_by": config.data.splits.group_by or config.data.positive_by,
        "table": _table(scores, seconds),
        "fold_scores": scores,
        "chosen": chosen,
        "seconds": round(time.monotonic() - began, 2),
    }


def _table(
    scores: Mapping[str, Sequence[Scores]], seconds: Mapping[str, float]
) -> list[dict[str, Any]]:
    """One row a method: means over folds, half the 95 % interval, and the gain over the first."""
    first = next(iter(scores))
    rows = []
    for name, folds in scores.items():
        row: dict[str, Any] = {"method": name}
        for direction in folds[0]:
            for measure in [m for m in folds[0][direction] if m.startswith("hit@")]:
                label = f"{direction} {measure}"
                values = [fold[direction][measure] for fold in folds]
                row[label], row[f"{label} ±"] = mean_interval(values)
                if name != first and direction in scores[first][0]:
                    base = [fold[direction][measure] for fold in scores[first]]
                    gains = [v - b for v, b in zip(values, base, strict=True)]
                    row[f"{label} gain"], row[f"{label} gain ±"] = mean_interval(gains)
        if name in seconds:
            row["seconds"] = round(seconds[name], 2)
        rows.append(row)
    return rows


def _phrase(scores: Scores) -> str:
    direction = next(iter(scores))
    told = {k: v for k, v in scores[direction].items() if k.startswith("hit@")}
    return f"{direction} " + ", ".join(f"{k} {v:.3f}" for k, v in told.items())
