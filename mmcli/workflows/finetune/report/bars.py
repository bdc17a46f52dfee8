"""Small parts of a fine-tuned model's page: bars with intervals, cells, blocks side by side."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmcli.report.charts import Interval, interval_chart
from mmcli.workflows.evaluate.retrieval_tables import with_interval
from mmcli.workflows.predictions.measures import LESS_IS_BETTER

#: Letters beside a bar.
LONGEST_NAME = 26


def bar(name: str, score: Mapping[str, Any]) -> Interval:
    """A bar of `{value, low, high}`; without whiskers where the ends are not known."""
    ends = [score.get(end) for end in ("low", "high")]
    known = all(end is not None and math.isfinite(end) for end in ends)
    short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    return Interval(short, float(score["value"]), *(ends if known else (None, None)))


def bars_chart(bars: Sequence[Interval]) -> str:
    """From 0, or the lowest end below it, to 1, or the highest end beyond it."""
    lowest = min((b.value if b.low is None else b.low for b in bars), default=0.0)
    highest = max((b.value if b.high is None else b.high for b in bars), default=1.0)
    low = min(0.0, lowest) if math.isfinite(lowest) else 0.0
    return interval_chart(bars, low, max(1.0, highest) if math.isfinite(highest) else 1.0)


def bars_caption(measure: str) -> str:
    """What the bars are of."""
    less = "; less is better" if measure in LESS_IS_BETTER else ""
    return f"{measure} and its 95 % interval{less}"


def cell(value: float | None, low: float | None, high: float | None) -> str:
    """A value and its interval in one cell, three decimals each."""
    ends = {"value": value, "low": low, "high": high}
    return with_interval({n: math.nan if v is None else float(v) for n, v in ends.items()}, 3)


def pair(*blocks: str) -> str:
    """Beside each other where the window is wide enough, each half of it."""
    return f'<div class="pair">{"".join(f"<div>{block}</div>" for block in blocks)}</div>\n'
