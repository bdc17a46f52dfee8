"""Every method against every other, by successive halving: many get a little time, few get all.

Each round trains what is left with one seed and twice the epochs of the round before, and keeps the
better half by validation score. Late methods cost next to nothing once the experts are trained, so
all of them stay in to the end. Source: Jamieson and Talwalkar 2016, arXiv 1502.07943.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.engine.device import Placement
from mmcli.fusion.objective import Objective
from mmcli.fusion.registry import METHODS, FusionSpec
from mmcli.metrics.choice import Measure
from mmcli.store.atomic import write_bytes
from mmcli.store.strict_json import read_object
from mmcli.workflows.fuse.data import FuseData
from mmcli.workflows.fuse.fit import Contest, FitRun, FuseOptions, Sizes, fit

#: Rounds before the last; of each the better half goes on.
ROUNDS = 2
#: How many networks reach the final, in which all seeds are trained.
FINALISTS = 3


def race(
    data: FuseData,
    objective: Objective,
    measure: Measure,
    options: FuseOptions,
    seed: int,
    placement: Placement,
    time_limit_s: float | None,
    listeners: Any,
) -> tuple[list[FusionSpec], list[dict[str, Any]]]:
    """The finalists, all late methods among them, and one row a method and round.

    Methods that read what this store does not have (columns to write into a text) do not start.
    """
    began = time.monotonic()
    networks = [s for s in METHODS if not s.experts and _can_run(s, data)]
    late = [s for s in METHODS if s.experts]
    whole = Sizes.of(len(data.train), options).epochs
    rows: list[dict[str, Any]] = []
    for number in range(ROUNDS):
        epochs = max(2, round(whole / 2 ** (ROUNDS + 1 - number)))
        left = None
        if time_limit_s is not None:
            left = max(1.0, (time_limit_s - (time.monotonic() - began)) / (ROUNDS - number))
        run = FitRun(
            (seed,),
            placement.device,
            placement.dtype,
            time_limit_s=left,
            progress=listeners.progress,
        )
        told = replace(options, epochs=epochs)
        contest = fit(data, [*networks, *late], objective, measure, told, run)
        scores = _scores(contest, [*networks, *late], measure)
        ranked = sorted(networks, key=lambda spec: -scores[spec.name])
        kept = max(FINALISTS, len(networks) // 2) if number < ROUNDS - 1 else FINALISTS
        networks = ranked[:kept]
        going = {s.name for s in (*networks, *late)}
        rows += [
            {
                "round": number + 1,
                "epochs": epochs,
                "method": name,
                f"val {measure.name}": measure.signed(score),
                "goes on": name in going,
            }
            for name, score in sorted(scores.items(), key=lambda pair: -pair[1])
        ]
        best = next(iter(sorted(scores, key=lambda name: -scores[name])))
        listeners.message(
            f"race, round {number + 1}: {len(scores)} methods, {epochs} epochs; best on validation"
            f" rows {best}; {len(networks)} networks go on"
        )
    return [*networks, *late], rows


def _can_run(spec: FusionSpec, data: FuseData) -> bool:
    if spec.view != "as-text":
        return True
    return any("as-text" in m.views for m in data.inputs.modalities.values())


def _scores(contest: Contest, specs: Sequence[FusionSpec], measure: Measure) -> dict[str, float]:
    """Validation scores, greater is better; without validation rows, of the train rows."""
    rows = contest.data.val if len(contest.data.val) else contest.data.train
    truth, ones = contest.data.labels.values[rows], np.ones(len(rows))
    found = {}
    for spec in specs:
        said = contest.val_probabilities if len(contest.data.val) else None
        shares = (said(spec.name) if said else contest.probabilities(spec.name, rows))[0]
        predicted = contest.objective.predicted(shares)
        value = measure.signed(measure.value(truth, shares, predicted, ones))
        found[spec.name] = value if np.isfinite(value) else -1e9
    return found


def raced_once(
    path: Path, run: Callable[[], tuple[list[FusionSpec], list[dict[str, Any]]]]
) -> tuple[list[FusionSpec], list[dict[str, Any]]]:
    """The outcome of a race, which is kept at `path`: a run that goes on does not race again."""
    if path.exists():
        kept = read_object(path, "a race", "delete it; the methods race again")
        return [METHODS.get(name) for name in kept["finalists"]], kept["rows"]
    finalists, rows = run()
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"finalists": [spec.name for spec in finalists], "rows": rows}
    write_bytes(path, json.dumps(content).encode())
    return finalists, rows
