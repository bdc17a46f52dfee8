"""What a contest of fusions is told, and what is said of it: plan, table, scores, cautions.

Shared by the verbs that train fusions. Prints nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmcli.core.errors import UsageError
from mmcli.core.registry import suggestion
from mmcli.engine.device import Placement
from mmcli.fusion.model import probabilities
from mmcli.fusion.network import CONCAT
from mmcli.fusion.objective import Objective, objective_for
from mmcli.fusion.registry import METHODS, FusionSpec, fusion_method
from mmcli.metrics.choice import Measure, measures_for
from mmcli.workflows.fuse.data import FuseData
from mmcli.workflows.fuse.fit import Contest, FitRun, FuseOptions, Sizes, fit
from mmcli.workflows.fuse.table import METHOD, SIMPLE, SINGLE, Entrant, judge

LATE_MEAN = "late:mean"
ALL = "all"


@dataclass(frozen=True)
class ContestConfig:
    """What a contest is told, as its plan and report have it. store: the data, for readers."""

    store: str
    output: str
    seeds: int
    seed: int
    options: FuseOptions = field(default_factory=FuseOptions)


@dataclass(frozen=True)
class Extra:
    """A model that was trained outside the contest and is judged in it.

    val, test: probabilities or values `(seeds, rows, …)` of the validation and the scored rows.
    """

    name: str
    val: Any
    test: Any
    parameters: int


def parse_methods(words: Sequence[str]) -> list[FusionSpec]:
    """The methods of the words. Raises UsageError for one that nobody knows, or for none."""
    found = {spec.name: spec for word in words if word != ALL for spec in [fusion_method(word)]}
    if not found and ALL not in words:
        raise UsageError("`--method` names nothing", "as in hybrid:gated")
    return list(found.values())


def describe(data: FuseData, specs: Sequence[FusionSpec], placement: Placement) -> str:
    """One line on what is about to be trained."""
    parts = "; ".join(f"{m.name} ({', '.join(m.keys)})" for m in data.inputs.modalities.values())
    names = ", ".join(spec.name for spec in specs) or ALL
    return (
        f"{names} of {parts}; {data.labels.kind}: {data.labels.source}; {len(data.train)} train,"
        f" {len(data.val)} val, {len(data.test)} test rows ({data.split_source});"
        f" {placement.device} {placement.precision}"
    )


def choose_measure(name: str, kind: str, n_classes: int) -> Measure:
    """The measure of `--metric`; `auto` is the first of this kind of label.

    Raises UsageError for one that does not fit the label.
    """
    if name == "roc_auc" and kind == "classes" and n_classes != 2:
        raise UsageError(
            f"`--metric roc_auc` is of two classes, the label has {n_classes}",
            "balanced_accuracy, macro_f1 or log_loss take any number",
        )
    known = measures_for(kind)
    if name == "auto":
        return next(iter(known.values()))
    if name not in known:
        raise UsageError(f"`--metric {name}` does not fit this label", suggestion(name, known))
    return known[name]


def check_loss(name: str, kind: str) -> str:
    """The name of `--loss`. Raises UsageError for one that does not fit the kind of label."""
    known = ("huber", "mae", "mse") if kind == "number" else ("cross-entropy", "focal")
    if name != "auto" and name not in known:
        raise UsageError(f"`--loss {name}` does not fit this label", suggestion(name, known))
    return name


def contest_plan(
    config: ContestConfig,
    data: FuseData,
    specs: Sequence[FusionSpec],
    measure: Measure,
    placement: Placement,
) -> dict[str, Any]:
    """What a run is about to do, which `--dry-run` prints and the report begins with."""
    labels = data.labels
    return {
        "model": config.output,
        "store": config.store,
        "methods": [spec.name for spec in specs] or [ALL],
        "label": {
            "column": labels.column,
            "kind": labels.kind,
            "why": labels.source,
            "classes": list(labels.classes),
            "unlabelled": int((~labels.known).sum()),
        },
        "metric": measure.name,
        "modalities": {
            name: {
                "keys": list(m.keys),
                "views": list(m.views),
                "rows": int(m.present.sum()),
            }
            for name, m in data.inputs.modalities.items()
        },
        "rows": {"train": len(data.train), "val": len(data.val), "test": len(data.test)},
        "splits": data.split_source,
        "seeds": config.seeds,
        "chosen": vars(Sizes.of(len(data.train), config.options)),
        "device": placement.device,
        "precision": placement.precision,
    }


def scored_rows(data: FuseData) -> tuple[Any, str]:
    """Test rows; without any, validation rows, without any, train rows."""
    for name in ("test", "val", "train"):
        rows = getattr(data, name)
        if len(rows):
            return rows, name
    raise AssertionError("there are train rows")


def contest_report(
    config: ContestConfig,
    data: FuseData,
    specs: Sequence[FusionSpec],
    objective: Objective,
    measure: Measure,
    contest: Contest,
    plan: Mapping[str, Any],
    extra: Extra | None = None,
    measures: Sequence[Measure] = (),
) -> dict[str, Any]:
    """The honest table of a contest, and which of its methods and seeds is kept.

    extra: a model that is kept whatever the others score. measures: the verdicts are given by these
    as well, and each model's value stands in the table.
    """
    rows, which = scored_rows(data)
    entrants = [
        Entrant(
            f"single:{m}",
            SINGLE,
            contest.single(m, data.val),
            contest.single(m, rows),
            contest.parameters(f"single:{m}"),
        )
        for m in data.inputs.names
    ]
    names = dict.fromkeys([CONCAT, LATE_MEAN, *(spec.name for spec in specs)])
    entrants += [
        Entrant(
            name,
            SIMPLE if name in (CONCAT, LATE_MEAN) else METHOD,
            contest.val_probabilities(name),
            contest.probabilities(name, rows),
            contest.parameters(name),
        )
        for name in names
    ]
    candidates = [spec.name for spec in specs]
    by_val = val_scores(contest, candidates, measure)
    method = max(candidates, key=lambda name: float(np.mean(by_val[name])))
    kept = method
    if extra is not None:
        entrants.append(Entrant(extra.name, METHOD, extra.val, extra.test, extra.parameters))
        kept = extra.name
    judged, *others = (
        judge(
            entrants,
            kept,
            objective,
            one,
            data.labels.values[data.val],
            data.labels.values[rows],
            data.groups[rows],
            config.seed,
        )
        for one in (measure, *measures)
    )
    for one, other in zip(measures, others, strict=True):
        judged.verdicts.extend(other.verdicts)
        for row, theirs in zip(judged.rows, other.rows, strict=True):
            row[one.name] = theirs[one.name]
    if which != "test":  # rows that chose a model are no judges of it
        for verdict in judged.verdicts:
            verdict["verdict"] = "not tested"
    if len(data.inputs.names) == 1 and extra is None:  # networks differ, nothing is combined
        for verdict in judged.verdicts:
            verdict["verdict"] = "nothing is fused"
    done = contest.trained
    return {
        **plan,
        "method": method,
        "kept": kept,
        "kept_seed": config.seed + int(np.argmax(by_val[method])),
        "table": judged.rows,
        "best_single": judged.best_single,
        "best_simple": judged.best_simple,
        "verdicts": judged.verdicts,
        "epochs": len(done.history),
        "out_of_time": done.out_of_time,
        "train_seconds": round(contest.seconds, 2),
    }


def refit(
    data: FuseData,
    objective: Objective,
    measure: Measure,
    specs: Sequence[FusionSpec],
    options: FuseOptions,
    run: FitRun,
) -> tuple[Objective, Contest]:
    """The same contest on other train rows, late:mean beside it; what these say of the objective.

    objective: of the whole, of which the choices are kept.
    """
    labels = data.labels
    anew = objective_for(
        labels.kind,
        labels.values[data.train],
        len(labels.classes),
        loss=objective.loss,
        gamma=objective.gamma,
        smoothing=objective.smoothing,
        balanced=bool(objective.weights),
    )
    entered = {spec.name: spec for spec in (*specs, METHODS.get(LATE_MEAN))}
    return anew, fit(data, list(entered.values()), anew, measure, options, run)


def val_scores(contest: Contest, names: Sequence[str], measure: Measure) -> dict[str, list[float]]:
    """Each seed's score on the validation rows, greater is better; zeros where there are none."""
    rows = contest.data.val
    truth = contest.data.labels.values[rows]
    found = {}
    for name in names:
        if not len(rows):
            found[name] = [0.0] * len(contest.field.seeds)
            continue
        ones = np.ones(len(rows))
        each = [
            measure.signed(measure.value(truth, s, contest.objective.predicted(s), ones))
            for s in contest.val_probabilities(name)
        ]
        found[name] = [value if np.isfinite(value) else -1e9 for value in each]
    return found


def model_scores(network: Any, contest: Contest, name: str, rows: Any) -> dict[str, float]:
    """Every measure of the kept model by itself that has a value for such labels."""
    shares = probabilities(
        network, contest.specs[name].view, contest.objective, contest.data.inputs, rows
    )
    truth = contest.data.labels.values[rows]
    predicted = contest.objective.predicted(shares)
    ones = np.ones(len(rows))
    found = {
        m.name: m.value(truth, shares, predicted, ones)
        for m in measures_for(contest.objective.kind).values()
    }
    return {name: value for name, value in found.items() if value == value}


def cautions(report: Mapping[str, Any]) -> list[str]:
    """What a reader of the table must know."""
    lines = []
    if report["scored_rows"] != "test":
        lines.append(
            f"no row is `test`: the scores are of the {report['scored_rows']} rows, by which"
            " models were chosen"
        )
    if not report["rows"]["val"]:
        lines.append("there are no val rows: nothing was chosen by them, the last epoch is kept")
    if report["out_of_time"]:
        lines.append(
            f"the time limit ended training at epoch {report['epochs']} of"
            f" {report['chosen']['epochs']}"
        )
    return lines
