"""`evaluate robustness`: how the score of a fusion falls when its inputs get worse.

Every corruption acts on copies of the inputs in memory; the store is only read. Prints nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.splits import SplitOptions
from mmcli.fusion.corruptions import CORRUPTIONS, EMBEDDINGS, Corruption, corrupted
from mmcli.fusion.inputs import Inputs, Rows
from mmcli.fusion.model import FusionModel, probabilities
from mmcli.metrics.choice import Measure, measures_for
from mmcli.metrics.statistics import LEVEL
from mmcli.store.reader import Store
from mmcli.workflows.evaluate.resampling import check_resamples, interval_warnings
from mmcli.workflows.evaluate.robustness_rows import rows_of
from mmcli.workflows.evaluate.robustness_scores import Judge, affordable, scored, strict, summary
from mmcli.workflows.evaluate.rows import column_groups
from mmcli.workflows.fuse.open import inputs_for
from mmcli.workflows.output_files import refuse_page

AUTO, ALL = "auto", "all"


@dataclass(frozen=True)
class RobustnessConfig:
    """What `mmcli evaluate robustness` can be told.

    corruptions: names of the registry, all of embeddings by default. only: modalities, each that
    the rows have by default. severities: instead of each corruption's own. metric: auto is the one
    that the model was chosen by. split: None is `test` where there is one, else every row.
    """

    model: str
    store: str
    corruptions: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    severities: tuple[float, ...] = ()
    metric: str = AUTO
    split: str | None = None
    splits: SplitOptions = field(default_factory=SplitOptions)
    resamples: int = 1000
    seed: int = 0
    report: str | None = None
    force: bool = False
    verify: str = "once"


def evaluate_robustness(
    config: RobustnessConfig, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Score every grade of every corruption and report; write the page that was asked for.

    Raises BadInput when the store has no labels of the model's column or lacks a modality that was
    named, SpaceMismatch when it was not made as the one the model was trained on.
    """
    chosen = _corruptions(config)
    grades = {c.name: config.severities or c.severities for c in chosen}
    _check(config, chosen)
    model = FusionModel.open(config.model, config.verify)
    measure = _measure(config.metric, model)
    store = Store.open(config.store, config.verify)
    inputs = inputs_for(model, store)
    under = rows_of(model, store, config.split, config.splits)
    names, warnings = _modalities(config, inputs, under.rows)
    targets = [(name,) for name in names] + ([names] if len(names) > 1 else [])
    per_target = sum(len(severities) + 1 for severities in grades.values())
    resamples = affordable(measure, config.resamples, len(under.rows), per_target * len(targets))
    if resamples < config.resamples:
        warnings.append(
            f"{measure.name} of {len(under.rows)} rows is slow: {resamples} resamples, not"
            f" {config.resamples}"
        )
    judge = Judge(
        under.truth,
        model.objective,
        measure,
        resamples,
        config.seed,
        column_groups(store, config.splits.group_by, under.rows),
    )
    drawn = len(under.rows) if judge.groups is None else int(judge.groups.max(initial=-1)) + 1
    clean = _shares(model, inputs, under.rows)
    (whole,) = scored(judge, clean, ())
    if not math.isfinite(whole["score"]):
        raise BadInput(
            f"{measure.name} has no value on the {len(under.rows)} rows under evaluation",
            "choose another `--metric`, or another `--split`",
        )
    total = len(targets) * sum(map(len, grades.values()))
    curves: list[dict[str, Any]] = []
    done = 0
    for corruption in chosen:
        for target in targets:
            graded = []
            for severity in grades[corruption.name]:
                worse = corrupted(corruption, inputs, target, under.rows, severity, config.seed)
                graded.append(_shares(model, worse, under.rows))
                done += 1
                progress(done, total)
            points = scored(judge, clean, graded)
            curves.append(
                {
                    "corruption": corruption.name,
                    "modality": _called(target, inputs),
                    **_curve(judge, grades[corruption.name], points),
                }
            )
    report = {
        "model": config.model,
        "store": config.store,
        "method": model.spec.name,
        "task": model.config["task"],
        "label": model.config["label"]["column"],
        "metric": measure.name,
        "greater_is_better": measure.greater,
        "split": under.split,
        "split_source": under.source,
        "rows": len(under.rows),
        "without_label": under.unlabelled,
        "modalities": _counts(inputs, under.rows),
        "corruptions": {c.name: c.summary for c in chosen},
        "clean": {name: strict(whole[name]) for name in ("score", "low", "high")},
        "curves": curves,
        "intervals": {
            "level": LEVEL,
            "resamples": resamples,
            "groups": config.splits.group_by,
            "seed": config.seed,
        },
        "warnings": [
            *under.warnings,
            *warnings,
            *interval_warnings(resamples, drawn),
        ],
    }
    if config.report:
        from mmcli.workflows.evaluate.robustness_page import write_page

        write_page(Path(config.report), report)
    return report


def _corruptions(config: RobustnessConfig) -> list[Corruption]:
    """Those that were named, once each, else all that need no more than a store."""
    if not config.corruptions:
        return [c for c in CORRUPTIONS if c.reads == EMBEDDINGS]
    found = [CORRUPTIONS.get(name) for name in dict.fromkeys(config.corruptions)]
    for corruption in found:
        if corruption.reads != EMBEDDINGS:
            raise UsageError(
                f"`--corruption {corruption.name}` changes {corruption.reads}, not embeddings",
                suggestion(corruption.name, [c.name for c in CORRUPTIONS if c.reads == EMBEDDINGS]),
            )
    return found


def _check(config: RobustnessConfig, chosen: Sequence[Corruption]) -> None:
    shares = [c.name for c in chosen if c.share]
    for severity in config.severities:
        if not 0 < severity < math.inf:
            raise UsageError(
                f"`--severities {severity:g}`: must be above 0", "the clean score is always there"
            )
        if severity > 1 and shares:
            raise UsageError(
                f"`--severities {severity:g}`: of `{shares[0]}` it is a share of the rows, at most"
                " 1",
                "name other corruptions with `--corruption`",
            )
    if list(config.severities) != sorted(set(config.severities)):
        raise UsageError("`--severities` must rise", "as in 0.5,1,2")
    check_resamples(config.resamples)
    if config.seed < 0:
        raise UsageError(f"`--seed {config.seed}`: must be at least 0", "as in 0")
    refuse_page(config.report, config.force)


def _measure(name: str, model: FusionModel) -> Measure:
    known = measures_for(model.objective.kind)
    if name == AUTO:
        name = (model.config.get("run") or {}).get("metric", AUTO)
        return known.get(name) or next(iter(known.values()))
    if name not in known:
        raise UsageError(f"`--metric {name}` does not fit this label", suggestion(name, known))
    return known[name]


def _modalities(
    config: RobustnessConfig, inputs: Inputs, rows: Rows
) -> tuple[tuple[str, ...], list[str]]:
    """What is to be made worse: parts that some row under evaluation has; and what is left out."""
    for name in config.only:
        if name not in inputs.names:
            raise UsageError(
                f"`--only {name}`: `{config.model}` does not read it",
                suggestion(name, inputs.names),
            )
    counts = _counts(inputs, rows)
    lacking = [name for name, count in counts.items() if not count]
    for name in config.only:
        if name in lacking:
            raise BadInput(
                f"no row under evaluation of `{config.store}` has {name}",
                "extract it, choose another `--split`, or leave it out of `--only`",
            )
    if len(lacking) == len(counts):
        raise BadInput(
            f"no row under evaluation of `{config.store}` has {', '.join(lacking)}",
            "choose another `--split`",
        )
    asked = config.only or inputs.names
    wanted = tuple(name for name in inputs.names if name in asked and name not in lacking)
    warnings = [f"no row under evaluation has {n}: it cannot get worse" for n in lacking]
    return wanted, [] if config.only else warnings


def _counts(inputs: Inputs, rows: Rows) -> dict[str, int]:
    """Rows that have each part."""
    return dict(zip(inputs.names, map(int, inputs.present(rows).sum(0)), strict=True))


def _shares(model: FusionModel, inputs: Inputs, rows: Rows) -> Any:
    return probabilities(model.network, model.spec.view, model.objective, inputs, rows)


def _called(target: tuple[str, ...], inputs: Inputs) -> str:
    """The name of what gets worse: `all` is every modality that the model reads."""
    if len(target) > 1 and set(target) == set(inputs.names):
        return ALL
    return "+".join(target)


def _curve(
    judge: Judge, severities: Sequence[float], points: Sequence[dict[str, float]]
) -> dict[str, Any]:
    return {
        **{name: strict(value) for name, value in summary(judge, points).items()},
        "points": [
            {"severity": severity, **{name: strict(value) for name, value in point.items()}}
            for severity, point in zip(severities, points[1:], strict=True)
        ],
    }
