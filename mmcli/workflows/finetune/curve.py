"""The learning curve: how much more train rows would help, by training on shares of them.

The shares are nested, whole groups in the order of a hash of their ids, and judged on the same
test rows. Only the first stage, heads on frozen features, is trained for each: it takes seconds
where tuned towers take hours. Prints nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.data.groups import store_groups
from mmcli.data.labels import check_trainable
from mmcli.fusion.inputs import Rows
from mmcli.fusion.objective import Objective
from mmcli.fusion.registry import FusionSpec
from mmcli.metrics.choice import Measure
from mmcli.store.reader import Store
from mmcli.workflows.finetune.retraining import FinishedRows, with_train_rows
from mmcli.workflows.fuse.contest import ContestConfig, contest_report, refit
from mmcli.workflows.fuse.data import FuseData
from mmcli.workflows.fuse.fit import FitRun, FuseOptions


def learning_curve(
    data: FuseData,
    store: Store,
    objective: Objective,
    measure: Measure,
    specs: Sequence[FusionSpec],
    options: FuseOptions,
    run: FitRun,
    shares: Sequence[float],
    *,
    seed: int = 0,
    group_by: str | None = None,
    whole: Mapping[str, Any] | None = None,
    message: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """One row a share, ascending: train rows, the method that val chose and its test score.

    Beside it the best single modality, each with its 95 % interval, and `epochs`. objective: of the
    run, whose loss is taken; what it knows of the train rows is learned anew of each share, as are
    the inputs' statistics. group_by: rows of one value of this column stay together. whole: the
    `contest_report` of all train rows, so that they are not trained on again. run.time_limit_s is
    for all shares together; below run.checkpoint finished shares are kept, for `run.resume`.

    A share that cannot be trained on, such as one with a single class, is left out with a message.
    """
    kept = FinishedRows(run.checkpoint / "curve.json" if run.checkpoint else None, run.resume)
    wanted = sorted(set(shares))
    parts = share_rows(store, data.train, wanted, group_by, seed)
    rows = []
    for number, (share, train) in enumerate(zip(wanted, parts, strict=True)):
        name = f"{share:.6g}"
        if whole is not None and len(train) == len(data.train):
            kept.rows[name] = _row(share, len(train), whole, measure)
        if name not in kept.rows:
            limit = run.time_limit_s
            told = replace(
                run,
                checkpoint=run.checkpoint / f"share-{name}" if run.checkpoint else None,
                time_limit_s=None if limit is None else limit * share / sum(wanted),
            )
            try:
                part = _part(data, store, train, seed)
            except BadInput as error:
                message(f"curve: {share:.4g} of the train rows is left out: {error.message}")
                continue
            message(f"curve: {len(train)} of {len(data.train)} train rows")
            report = _trained(part, objective, measure, specs, options, told, seed)
            kept.add(name, _row(share, len(train), report, measure))
        rows.append(kept.rows[name])
        run.progress(number + 1, len(wanted))
    return rows


def share_rows(
    store: Store, train: Rows, shares: Sequence[float], group_by: str | None = None, seed: int = 0
) -> list[Rows]:
    """The train rows of each share, ascending; a smaller share lies within every larger one.

    Groups are taken in the order of a hash of seed and value until the share is reached, so it may
    be passed by less than one group.
    """
    groups = store_groups(store, group_by).among(train)
    order = groups.order(seed)
    reached = np.cumsum(groups.sizes[order])
    found = []
    for share in shares:
        enough = int(np.searchsorted(reached, share * len(train) - 1e-9)) + 1
        found.append(train[np.isin(groups.codes, order[:enough])])
    return found


def _part(data: FuseData, store: Store, train: Rows, seed: int) -> FuseData:
    """The same data with fewer train rows. Raises BadInput when they cannot be trained on."""
    check_trainable(data.labels, train)
    for name, modality in data.inputs.modalities.items():
        if not modality.present[train].any():
            raise BadInput(f"none of its rows has {name}", "take a larger share")
    return with_train_rows(data, store, train, seed)


def _trained(
    data: FuseData,
    objective: Objective,
    measure: Measure,
    specs: Sequence[FusionSpec],
    options: FuseOptions,
    run: FitRun,
    seed: int,
) -> dict[str, Any]:
    """The honest table of this share."""
    anew, contest = refit(data, objective, measure, specs, options, run)
    told = ContestConfig("", "", len(run.seeds), seed, options)
    return contest_report(told, data, specs, anew, measure, contest, {})


def _row(
    share: float, train_rows: int, report: Mapping[str, Any], measure: Measure
) -> dict[str, Any]:
    by_name = {row["model"]: row for row in report["table"]}
    found: dict[str, Any] = {"share": share, "train rows": train_rows}
    for what, model in (("", report["method"]), ("single ", report["best_single"])):
        score = by_name.get(model, {})
        found |= {
            f"{what}model": model,
            f"{what}{measure.name}": score.get(measure.name),
            f"{what}low": score.get("low"),
            f"{what}high": score.get("high"),
        }
    return {**found, "epochs": report["epochs"]}
