"""Classification, and prediction of numbers: any parts, any kind of label. Knows its measures."""

from mmcli.metrics.choice import Measure, measures_for


def measures(kind: str) -> tuple[Measure, ...]:
    """What models are compared by, the one they are chosen by first."""
    known = measures_for(kind)
    second = {"number": "pearson"}.get(kind, "macro_f1")
    return (next(iter(known.values())), known[second])
