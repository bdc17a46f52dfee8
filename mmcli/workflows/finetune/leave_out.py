"""Leave one event out: how good a model is on an event of which it has seen nothing.

For each value of a column, the contest of fusions is trained anew on the rows of all others, and
scored on the rows of that value. Rows of one event resemble each other, so that a model that has
seen some of them scores better on the rest than it will on the next event. Only heads on cached
features are trained: it takes seconds where tuned towers take hours. The splits of the data say
which rows take part; within a turn, some of the train rows validate. Prints nothing.

Events are the columns that CrisisMMD has (Alam et al. 2018, arXiv 1805.00713).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.groups import Groups, encode, fill, refuse_nested, store_groups, text_of
from mmcli.data.labels import check_trainable
from mmcli.data.splits import SplitOptions
from mmcli.fusion.inputs import Rows
from mmcli.fusion.objective import Objective
from mmcli.fusion.registry import FusionSpec
from mmcli.metrics.choice import Measure
from mmcli.metrics.statistics import bootstrap_means
from mmcli.store.reader import Store
from mmcli.workflows.finetune.retraining import FinishedRows, with_train_rows
from mmcli.workflows.fuse.contest import refit, val_scores
from mmcli.workflows.fuse.data import FuseData
from mmcli.workflows.fuse.fit import Contest, FitRun, FuseOptions

#: The name under which a run is told of it.
OPTION = "leave_out"
#: More events than this would be as many trainings: such a column names something else.
MOST_EVENTS = 100
RESAMPLES = 1000


@dataclass(frozen=True)
class Turn:
    """One event held out: the rows to learn from, those that validate, and its own."""

    name: str
    train: Rows
    val: Rows
    test: Rows


def turns_of(data: FuseData, store: Store, column: str, splits: SplitOptions) -> list[Turn]:
    """A turn for each value of the column, in their order.

    Rows that are in no split or name no event take no part, nor do rows of a group that reaches
    into the event held out. splits: the share of the train rows that validate, and the column whose
    groups stay together.

    Raises BadInput for a column that is missing, that holds lists, fewer than two values or very
    many, for a value of which no row is labelled, and where the others cannot be trained on;
    UsageError when it is the label itself.
    """
    codes, names = _events(data, store, column)
    groups = store_groups(store, splits.group_by)
    taken = np.sort(np.concatenate([data.train, data.val, data.test]))
    turns = []
    for code in sorted(range(len(names)), key=lambda code: names[code]):
        test = taken[codes[taken] == code]
        if not len(test):
            raise BadInput(
                f"no row of `{names[code][:60]}` (column `{column}` of `{store.path}`) has a"
                f" `{data.labels.column}` and a split",
                "label some, or leave the event out of the data",
            )
        others = taken[(codes[taken] >= 0) & (codes[taken] != code)]
        others = others[~np.isin(groups.codes[others], groups.codes[test])]
        val = _validation(groups, others, splits)
        train = np.setdiff1d(others, val)
        train = train[data.inputs.present(train).any(1)]
        _check(data, train, names[code])
        turns.append(Turn(names[code], train, val, test))
    return turns


def leave_out(
    data: FuseData,
    store: Store,
    turns: Sequence[Turn],
    objective: Objective,
    measure: Measure,
    specs: Sequence[FusionSpec],
    options: FuseOptions,
    run: FitRun,
    *,
    message: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """One row an event, and a last one of their mean.

    Each names the method that the validation rows chose and its score on the event, the mean over
    seeds, beside the best single modality, chosen alike, and what is said without looking: the
    `majority` of the train rows, of a number their `mean`. The last row has the means over events,
    and 95 % intervals of the score and of the gain on the single modality, which resample events.

    objective: of the whole run, whose loss is taken; what it knows of the train rows is learned
    anew, as are the inputs' statistics. run.time_limit_s is for all turns; below run.checkpoint
    finished ones are kept, for `run.resume`.
    """
    kept = FinishedRows(run.checkpoint / "events.json" if run.checkpoint else None, run.resume)
    for number, turn in enumerate(turns):
        if turn.name not in kept.rows:
            limit = run.time_limit_s
            told = replace(
                run,
                checkpoint=run.checkpoint / f"event-{number}" if run.checkpoint else None,
                time_limit_s=None if limit is None else limit / len(turns),
                progress=lambda done, total: None,
            )
            part = with_train_rows(data, store, turn.train, run.seeds[0])
            part = replace(part, val=turn.val, test=turn.test)
            row = _scored(part, objective, measure, specs, options, told)
            kept.add(turn.name, row)
            message(
                f"leave out {turn.name}: {row['method']} {measure.name} {row[measure.name]:.3f} on"
                f" {row['n']} rows, {row['single']} {row[f'single {measure.name}']:.3f}"
            )
        run.progress(number + 1, len(turns))
    rows = [{"held out": turn.name, **kept.rows[turn.name]} for turn in turns]
    return [*rows, mean_row(rows, objective, measure, run.seeds[0])]


def mean_row(
    rows: Sequence[dict[str, Any]], objective: Objective, measure: Measure, seed: int
) -> dict[str, Any]:
    """The means over events, each counting alike, and their intervals.

    An event on which a score is not defined (a correlation of one row) is left out of the means.
    """
    names = [f"{what}{measure.name}" for what in ("", "single ", f"{_blind(objective)} ")]
    values = np.array([[row[name] for name in names] for row in rows], np.float64)
    gains = (1.0 if measure.greater else -1.0) * (values[:, :1] - values[:, 1:2])
    values = np.concatenate([values, gains], axis=1)
    values = values[np.isfinite(values).all(1)]
    found = bootstrap_means(values, RESAMPLES, seed)
    return {
        "held out": f"mean of {len(values)}",
        "n": sum(row["n"] for row in rows),
        "method": None,
        "single": None,
        **dict(zip(names, found.value.tolist(), strict=False)),
        "low": float(found.low[0]),
        "high": float(found.high[0]),
        "gain": float(found.value[3]),
        "gain low": float(found.low[3]),
        "gain high": float(found.high[3]),
    }


def _blind(objective: Objective) -> str:
    """What a prediction without looking is called."""
    return "mean" if objective.kind == "number" else "majority"


def _events(data: FuseData, store: Store, column: str) -> tuple[NDArray[np.intp], list[str]]:
    """The number of each row's event, -1 of none, and their names."""
    if column not in store.columns:
        raise BadInput(
            f"`{store.path}` has no column `{column}`", suggestion(column, store.columns)
        )
    if column == data.labels.column:
        raise UsageError(
            f"`--leave-out {column}` is the label itself", "name a column of events or places"
        )
    values = store.items([column]).column(column)
    refuse_nested(values, column)
    codes, found = encode(values)
    where = f"column `{column}` of `{store.path}`"
    if len(found) < 2:
        raise BadInput(
            f"{where} has {len(found)} values, so none can be left out",
            "name a column with two values or more",
        )
    if len(found) > MOST_EVENTS:
        raise BadInput(
            f"{where} has {len(found)} values, each of which would be a training",
            f"name one with at most {MOST_EVENTS}, as of events",
        )
    return codes, [text_of(value) for value in found]


def _validation(groups: Groups, others: Rows, splits: SplitOptions) -> Rows:
    """The rows that validate: whole groups in the order of a hash; none of a single group."""
    among = groups.among(others)
    if not splits.val_fraction or len(among) < 2:
        return others[:0]
    order = among.order(splits.seed).tolist()
    taken = fill(order, among.sizes, splits.val_fraction * len(others))
    return others[np.isin(among.codes, np.array(taken, np.intp))]


def _check(data: FuseData, train: Rows, name: str) -> None:
    """Raise BadInput, naming the event, where the others teach nothing."""
    try:
        check_trainable(data.labels, train)
        for modality in data.inputs.modalities.values():
            if not modality.present[train].any():
                raise BadInput(f"no train row has {modality.name}", "leave it out with `--only`")
    except BadInput as error:
        raise BadInput(f"without `{name[:60]}`, {error.message}", error.hint) from error


def _scored(
    data: FuseData,
    objective: Objective,
    measure: Measure,
    specs: Sequence[FusionSpec],
    options: FuseOptions,
    run: FitRun,
) -> dict[str, Any]:
    """What the contest of one turn gives on its test rows."""
    anew, contest = refit(data, objective, measure, specs, options, run)
    by_val = val_scores(contest, [spec.name for spec in specs], measure)
    method = max(by_val, key=lambda name: float(np.mean(by_val[name])))
    single = _best_single(contest, measure)
    blind = np.broadcast_to(anew.constant(), (1, len(data.test), *anew.constant().shape))
    said = {
        "": contest.probabilities(method, data.test),
        "single ": contest.single(single, data.test),
        f"{_blind(anew)} ": blind,
    }
    truth = data.labels.values[data.test]
    scores = {f"{k}{measure.name}": _mean(v, truth, anew, measure) for k, v in said.items()}
    return {"n": len(data.test), "method": method, "single": f"single:{single}", **scores}


def _best_single(contest: Contest, measure: Measure) -> str:
    """The modality that is best on the validation rows; the first where there are none."""
    rows, names = contest.data.val, contest.data.inputs.names
    if not len(rows):
        return names[0]
    truth = contest.data.labels.values[rows]

    def score(name: str) -> float:
        value = _mean(contest.single(name, rows), truth, contest.objective, measure)
        return measure.signed(value) if np.isfinite(value) else -np.inf

    return max(names, key=score)


def _mean(shares: NDArray[Any], truth: Any, objective: Objective, measure: Measure) -> float:
    """The measure, averaged over seeds."""
    ones = np.ones(len(truth))
    return float(np.mean([measure.value(truth, s, objective.predicted(s), ones) for s in shares]))
