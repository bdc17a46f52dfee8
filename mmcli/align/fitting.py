"""What passes between `align train` and a method: options in, towers and their story out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmcli.align.features import Features, Rows
from mmcli.align.scoring import Scores, score_towers
from mmcli.align.tower import Tower
from mmcli.core.bounds import TRAINING, Bounds, check_options


@dataclass(frozen=True)
class AlignOptions:
    """What a method may be told; None is "the method chooses", and what it chose is written down.

    dim: width of the aligned space. hard_negatives: rows mined beside each row of a batch. chunk:
    rows of the score matrix held at a time. anchor: the modality whose space stays as it is.
    """

    variant: str = ""
    dim: int | None = None
    hidden: int | None = None
    dropout: float | None = None
    tower: str = "auto"
    anchor: str | None = None
    epochs: int | None = None
    batch: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    warmup: float = 0.1
    ema: float | None = None
    clip: float = 1.0
    patience: int | None = None
    temperature: float = 0.07
    hard_negatives: int = 0
    chunk: int | None = None
    cycle_weight: float | None = None
    match_weight: float | None = None
    layers: int = 2
    heads: int = 4


_BOUNDS: dict[str, Bounds] = {
    **TRAINING,
    "batch": (2, 10_000_000),  # one row alone has no negatives
    "dim": (1, 65_536),
    "hidden": (1, 65_536),
    "temperature": (0.01, 10),
    "hard_negatives": (0, 10_000),
    "chunk": (1, 10_000_000),
    "cycle_weight": (0, 1e6),
    "match_weight": (0, 1e6),
}


def check_numbers(options: AlignOptions) -> None:
    """Raise UsageError for a number that no method could be trained with."""
    check_options(vars(options), _BOUNDS)


@dataclass(frozen=True)
class FitRun:
    """Where and how one fit runs, and who hears of it.

    checkpoint: a folder to go on from and to keep the state in; None keeps none. resume: whether
    what lies there is to be continued.
    """

    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    checkpoint: Path | None = None
    resume: bool = False
    checkpoint_s: float = 30.0
    message: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], None] = lambda done, total: None


@dataclass(frozen=True)
class Fitted:
    """What a method found.

    directions: `both` and what else it can be applied as, a tower a modality. chosen: the settings
    that it chose or was given. history: one record an epoch. val: scores of the validation rows.
    arrays, config: of a model that is no tower (it scores pairs); scorer: what scores rows with it.
    """

    directions: Mapping[str, Mapping[str, Tower]]
    chosen: Mapping[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)
    val: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    val_source: str = "the validation rows"
    arrays: Mapping[str, Any] | None = None
    config: Mapping[str, Any] | None = None
    scorer: Callable[[Features, Rows], Scores] | None = None

    def score(self, features: Features, rows: Rows) -> Scores:
        """Scores of rows that were not learned from, by direction."""
        if self.scorer is not None:
            return self.scorer(features, rows)
        return score_towers(features, self.directions["both"], rows)
