"""Events in posts: informative or not, which type, how severe. Knows the measures of the task.

CrisisMMD (Alam et al. 2018, arXiv 1805.00713) reports F1 of classes that are far from even, so
models are chosen by macro-F1. Streams of timed events are in `streams.py`.
"""

from mmcli.metrics.choice import Measure, measures_for


def measures(kind: str) -> tuple[Measure, ...]:
    """What models are compared by, the one they are chosen by first."""
    known = measures_for(kind)
    if kind == "number":
        return (known["mae"],)
    return tuple(known[name] for name in ("macro_f1", "accuracy") if name in known)
