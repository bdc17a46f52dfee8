"""Every rung of a few-shot ladder fitted on every draw, and what each says of the test rows.

Knows rungs and draws; nothing about scores' intervals, files or how the rows were chosen.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmcli.tuning.few_shot.episode import Array, Episode, Fitted, Floats, Views, quality
from mmcli.tuning.few_shot.registry import RUNGS, RungSpec
from mmcli.workflows.few_shot.data import Draw, FewShotData, Rows, draw_shots
from mmcli.workflows.few_shot.scores import MEASURES, Cell, Scored
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.listeners import Listeners

MAJORITY = "majority class"
#: Of cosines with names: where CLIP's logit scale ends (Radford et al. 2021, section 2.5).
SCALE = 100.0


@dataclass(frozen=True)
class RowRung:
    """A rung that reads the rows themselves, not their embeddings.

    fit: given a draw, what gives the logits `(rows, classes)` of any rows of the store.
    """

    spec: RungSpec
    fit: Callable[[Draw], Callable[[Rows], Floats]]


@dataclass(frozen=True)
class Texts:
    """The classes' names as vectors; vectors: None where no text encoder is known."""

    vectors: Array | None = None
    encoder: str = ""
    prompts: tuple[str, ...] = ()
    words: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """The rung that becomes the model, of the first draw.

    by_val: mean accuracy of each rung on the rows that rungs are compared by, over draws; NaN
    without any. judged, judge_truth: its logits on those rows and their classes. predicted, truth:
    of the test rows.
    """

    spec: RungSpec
    fitted: Fitted
    shots: int
    by_val: dict[str, float]
    judged: Floats
    judge_truth: Rows
    predicted: Rows
    truth: Rows

    def record(self) -> dict[str, Any]:
        """As a part of the report."""
        return {
            "rung": self.spec.name,
            "shots": self.shots,
            "draw": 0,
            "judge_rows": len(self.judge_truth),
            "by_val": self.by_val,
            "settings": dict(self.fitted.settings),
        }


class Climb:
    """Fits every rung on every draw; keeps what each says of the test rows."""

    def __init__(
        self,
        config: FinetuneConfig,
        data: FewShotData,
        texts: Texts,
        others: Mapping[str, RowRung],
        listeners: Listeners,
    ) -> None:
        self.config, self.data, self.texts = config, data, texts
        self.others, self.listeners = others, listeners
        self.shots = sorted(set(config.shots))
        self.test = self._views(data.rows("test"))
        self.drawn = [
            draw_shots(data, self.shots, number, config.seed) for number in range(config.draws)
        ]
        self.cells: list[Cell] = []
        self.history: list[dict[str, Any]] = []
        self.seconds: dict[str, float] = {}
        self.trained: dict[tuple[str, int], int] = {}
        self._kept: dict[str, Fitted] = {}  # of the first draw with most shots
        self._judged: dict[str, list[float]] = {}

    def go(self, rungs: Sequence[RungSpec]) -> None:
        """Fill the cells: the majority class, then each rung over its shots."""
        most = int(np.argmax(self.data.counts("train")))
        rows = len(self.test.truth)
        self.cells.append(Cell(MAJORITY, 0, np.full((1, rows), most, np.int64)))
        total = sum(len(self.drawn) * len(self.shots) if spec.learns else 1 for spec in rungs)
        done = 0
        for spec in rungs:
            began = time.monotonic()
            for shots in self.shots if spec.learns else (0,):
                found: list[Rows] = []
                for draw in (d[shots or self.shots[-1]] for d in self.drawn):
                    if not spec.learns and found:  # the same for every draw, but for its val rows
                        self._judge(spec, draw, self._kept[spec.name])
                        continue
                    found.append(self._answer(spec, shots, draw))
                    done += 1
                    self.listeners.progress(done, total)
                self.cells.append(Cell(spec.name, shots, np.stack(found)))
            self.seconds[spec.name] = time.monotonic() - began

    def _answer(self, spec: RungSpec, shots: int, draw: Draw) -> Rows:
        """The classes that a rung gives the test rows after one draw."""
        last = shots in (0, self.shots[-1])
        if spec.name in self.others:
            say = self.others[spec.name].fit(draw)
            return say(self.data.rows("test")).argmax(axis=1).astype(np.int64)
        episode = Episode(
            self._views(draw.shots),
            self._views(draw.val),
            len(self.data.classes),
            self.texts.vectors,
            SCALE,
            self.config.seed + draw.number,
        )
        fitted: Fitted = spec.load("fit")(episode)
        logits = spec.load("logits")
        record: dict[str, Any] = {"rung": spec.name, "shots": shots, "draw": draw.number}
        record |= {"rows": len(draw.shots) if spec.learns else 0, "val_rows": len(draw.val)}
        if len(draw.val):
            said = logits(fitted, episode.val.features, episode.val.shared)
            record["val_accuracy"] = quality(said, episode.val.truth)[0]
        self.history.append({**record, **fitted.settings})
        self.trained[spec.name, shots] = fitted.trained
        if last:
            self._judge(spec, draw, fitted)
            if draw.number == 0:
                self._kept[spec.name] = fitted
        found = logits(fitted, self.test.features, self.test.shared)
        return found.argmax(axis=1).astype(np.int64)

    def _judge(self, spec: RungSpec, draw: Draw, fitted: Fitted) -> None:
        """How well it does on the rows that rungs are compared by."""
        if len(draw.judge):
            rows = self._views(draw.judge)
            said = spec.load("logits")(fitted, rows.features, rows.shared)
            self._judged.setdefault(spec.name, []).append(quality(said, rows.truth)[0])

    def kept(self, rungs: Sequence[RungSpec]) -> Kept:
        """The rung on features that does best at most shots; of equals the first."""
        names = [spec.name for spec in rungs if spec.name in self._kept]
        means = {name: float(np.mean(self._judged.get(name) or [np.nan])) for name in names}
        learn = [spec.name for spec in rungs if spec.learns and spec.name in self._kept]
        unjudged = np.isnan(list(means.values())).any()
        name = (learn or names)[0] if unjudged else max(names, key=means.__getitem__)
        spec, fitted = RUNGS.get(name), self._kept[name]
        logits = spec.load("logits")
        rows = self._views(self.drawn[0][self.shots[-1]].judge)
        return Kept(
            spec=spec,
            fitted=fitted,
            shots=self.shots[-1] if spec.learns else 0,
            by_val=means,
            judged=logits(fitted, rows.features, rows.shared),
            judge_truth=rows.truth,
            predicted=logits(fitted, self.test.features, self.test.shared).argmax(axis=1),
            truth=self.test.truth,
        )

    def _views(self, rows: Rows) -> Views:
        features, shared = self.data.reader.take(rows)
        return Views(features, shared, self.data.truth[rows])


def ladder(climb: Climb, scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """A row a rung and number of shots: the measures of each with intervals, over all draws."""
    found = []
    for cell, scores in zip(climb.cells, scored, strict=True):
        history = [h for h in climb.history if (h["rung"], h["shots"]) == (cell.rung, cell.shots)]
        val = [h["val_accuracy"] for h in history if "val_accuracy" in h]
        found.append(
            {
                "rung": cell.rung,
                "shots": cell.shots,
                "draws": len(cell.predicted),
                "rows": history[0]["rows"] if history else None,
                "trained": climb.trained.get((cell.rung, cell.shots)),
                "val_accuracy": float(np.mean(val)) if val else None,
                **{name: scores.entry(name) for name in MEASURES},
                "over_draws": scores.over_draws("accuracy"),
            }
        )
    return found
