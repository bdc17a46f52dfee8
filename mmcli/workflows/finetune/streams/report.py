"""What a fine-tuning on recordings comes to: tables with chance, intervals and a paired test."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from mmcli.metrics.detection import TIOUS, Events
from mmcli.tasks.streams_scores import MAIN, chance, compared, summarised
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.streams.data import Rows, StreamRows
from mmcli.workflows.finetune.streams.fit import Contestant, scored

CHANCE = "chance"
RESAMPLES = 1000


def stream_report(
    config: FinetuneConfig, rows: StreamRows, field: list[Contestant]
) -> dict[str, Any]:
    """Every model and chance on the test rows, the first one's classes, and whether it is better
    than the best single sense."""
    test, which = scored(rows)
    table = [_row(one, config.seed) for one in field]
    table.append({"model": CHANCE, **_chance(config, rows, test, field[0])})
    verdicts = []
    if len(field) > 1:
        best = max(field[1:], key=lambda one: one.score if np.isfinite(one.score) else -1.0)
        found = compared(field[0].said, best.said, RESAMPLES, config.seed)
        for measure in (MAIN, "event_f1"):
            verdicts.append(_verdict(field[0].name, best.name, measure, found[measure], which))
    lines = [
        f"{v['method']} against {v['against']}: {v['verdict']} ({v['measure']} {v['gain']:+.3f},"
        f" 95 % interval {v['low']:+.3f} to {v['high']:+.3f}, p {v['p']:.2g})"
        for v in verdicts
    ]
    if which != "test":
        lines.append(f"no row is `test`: scores are of the {which} rows")
    if any(one.trained.out_of_time for one in field):
        lines.append("the time limit ended training")
    by_class = field[0].said.judged().by_class(rows.classes)
    return {
        "scored_rows": which,
        "table": table,
        "by_class": by_class,
        "tables": {f"{which} rows": table, "by class": _short(by_class)},
        "verdicts": verdicts,
        "lines": lines,
        "best_single": best.name if len(field) > 1 else None,
        "kept_seed": field[0].seed,
        "decoding": {
            name: asdict(rule) for name, rule in zip(rows.classes, field[0].rules, strict=True)
        },
        "epochs": len(field[0].trained.history),
        "history": {one.name: one.trained.history for one in field},
    }


def _row(one: Contestant, seed: int) -> dict[str, Any]:
    found = summarised(one.said, RESAMPLES, seed)
    main, f1 = found[MAIN], found["event_f1"]
    return {
        "model": one.name,
        MAIN: main["value"],
        "low": main["low"],
        "high": main["high"],
        **{f"map@{iou:g}": found[f"map@{iou:g}"]["value"] for iou in TIOUS},
        "event_f1": f1["value"],
        "f1_low": f1["low"],
        "f1_high": f1["high"],
        "parameters": sum(p.numel() for p in one.network.parameters()),
    }


def _chance(
    config: FinetuneConfig, rows: StreamRows, test: Rows, one: Contestant
) -> dict[str, float]:
    recordings = rows.recordings.rows
    numbers = {name: number for number, name in enumerate(rows.classes)}
    train = Events.of(
        [
            (i, numbers[event.label], event.start_s, event.end_s, 1.0)
            for i, row in enumerate(rows.train.tolist())
            for event in recordings[row].events or ()
        ]
    )
    found = chance(
        train,
        [recordings[row].duration_s for row in rows.train.tolist()],
        one.said.truth,
        [recordings[row].duration_s for row in test.tolist()],
        len(rows.classes),
        config.seed,
    )
    names = (MAIN, *(f"map@{iou:g}" for iou in TIOUS), "event_f1")
    return {name: found[name] for name in names}


def _verdict(
    method: str, against: str, measure: str, found: Mapping[str, float], which: str
) -> dict[str, Any]:
    gain, low, high = found["difference"], found["low"], found["high"]
    word = "no gain shown"
    if low > 0 or high < 0:
        word = "gain shown" if gain > 0 else "loss shown"
    return {
        "method": method,
        "against": against,
        "measure": measure,
        "gain": gain,
        "low": low,
        "high": high,
        "p": found["p"],
        "verdict": word if which == "test" else "not tested",
    }


def _short(by_class: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("class", "events", "found", "ap", "ap@0.3", "ap@0.5", "ap@0.7", "event_f1")
    return [{name: row[name] for name in names} for row in by_class]
