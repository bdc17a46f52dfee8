"""What a training on pairs comes to: both directions on rows that taught nothing, beside what the
encoders share untrained and what the closed form makes of them.

Every mean has an interval over rows; rows that belong together are drawn together. Knows nothing
about how anything was trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.align.features import Features, Rows
from mmcli.align.fitting import AlignOptions, FitRun
from mmcli.align.linear import fit as fit_linear
from mmcli.align.tower import unit
from mmcli.metrics.relevance import relevance_by_value
from mmcli.workflows.evaluate.retrieval_scores import (
    Scored,
    Setting,
    compare,
    score_queries,
    summarise,
)

Vectors = NDArray[np.float32]
BOTH = "both directions"
METRIC = "hit@1"
SHOWN = (METRIC, "hit@5", "hit@10", "mrr")
#: The closed form that stands beside: in seconds, and never far from the best of them.
CLOSED_FORM = "ridge"


@dataclass(frozen=True)
class Judged:
    """One model on the judged rows: what each query got, by direction and over both."""

    name: str
    scored: Mapping[str, Scored]
    parameters: int = 0


def judged_rows(features: Features, test: Rows) -> tuple[Rows, str]:
    """The rows that models are compared on, and what they are called."""
    for name, rows in (("test", test), ("val", features.val), ("train", features.train)):
        both = features.rows_with(rows, *features.modalities)
        if len(both) > 1:
            return both, name
    return test[:0], "test"


def judge(
    name: str, vectors: Mapping[str, Vectors], groups: Rows, setting: Setting, parameters: int = 0
) -> Judged:
    """Both directions of matched unit vectors, `(rows, dim)` a modality.

    groups: `(rows,)`, rows of one number answer each other.
    """
    relevant = relevance_by_value(groups.tolist(), groups.tolist())
    first, second = vectors
    scored = {
        f"{query}-to-{target}": score_queries(vectors[query], vectors[target], relevant, setting)
        for query, target in ((first, second), (second, first))
    }
    there, back = scored.values()
    mean = {name: (value + back.measures[name]) / 2 for name, value in there.measures.items()}
    return Judged(name, {BOTH: Scored(there.queries, mean), **scored}, parameters)


def baselines(features: Features, rows: Rows, setting: Setting, seed: int) -> list[Judged]:
    """The space that the encoders share, where they do, and the closed form."""
    found = []
    keys = {name: features.shared_key(name) for name in features.modalities}
    groups = features.groups[rows]
    if all(keys.values()):
        shared = {
            name: unit(features.parts[name].take(rows, (str(key),))[str(key)])
            for name, key in keys.items()
        }
        found.append(judge("untrained", shared, groups, setting))
    fitted = fit_linear(features, AlignOptions(variant=CLOSED_FORM), FitRun(seed=seed))
    towers = fitted.directions["both"]
    mapped = {
        name: towers[name].apply(features.parts[name].take(rows)) for name in features.modalities
    }
    found.append(judge(f"linear:{CLOSED_FORM}", mapped, groups, setting))
    return found


def tables(
    kept: Judged, others: Sequence[Judged], groups: Rows, setting: Setting
) -> dict[str, list[dict[str, Any]]]:
    """One table for both directions together and one for each: a row a model."""
    return {
        direction: [_row(one, direction, groups, setting) for one in (*others, kept)]
        for direction in kept.scored
    }


def _row(one: Judged, direction: str, groups: Rows, setting: Setting) -> dict[str, Any]:
    found = summarise(one.scored[direction], setting, groups)
    main = found[METRIC]
    row = {"model": one.name, METRIC: main["value"], "low": main["low"], "high": main["high"]}
    row |= {name: found[name]["value"] for name in SHOWN[1:]}
    return {**row, "median rank": found["median_rank"]["value"], "parameters": one.parameters}


def verdicts(
    kept: Judged, others: Sequence[Judged], groups: Rows, setting: Setting, which: str
) -> list[dict[str, Any]]:
    """What was gained over each of the others on the same rows, and how sure that is."""
    found = []
    for other in others:
        compared = compare(kept.scored[BOTH], other.scored[BOTH], setting, groups)
        for measure in (METRIC, "mrr"):
            gain = compared[measure]
            word = "no gain shown"
            if gain["low"] > 0 or gain["high"] < 0:
                word = "gain shown" if gain["difference"] > 0 else "loss shown"
            found.append(
                {
                    "method": kept.name,
                    "against": other.name,
                    "measure": measure,
                    "gain": gain["difference"],
                    "low": gain["low"],
                    "high": gain["high"],
                    "p": gain["p"],
                    "verdict": word if which == "test" else "not tested",
                }
            )
    return found


def lines(found: Sequence[Mapping[str, Any]], worth: Mapping[str, float], which: str) -> list[str]:
    """The verdicts in words, and what the other losses came to."""
    told = [
        f"{v['method']} against {v['against']}: {v['verdict']} ({v['measure']} {v['gain']:+.3f},"
        f" 95 % interval {v['low']:+.3f} to {v['high']:+.3f}, p {v['p']:.2g})"
        for v in found
    ]
    for name, whose in (("hard", "a close wrong one"), ("any", "any wrong one")):
        value = worth.get(f"own above {name}")
        if value is not None:
            told.append(f"own partner put above {whose}: {value:.3f} (chance 0.5)")
    for name, value in worth.items():
        if name.startswith("restored "):
            hidden = name.removeprefix("restored ")
            told.append(f"hidden {hidden} given back from the other part: {value:.1%} of variance")
    if which != "test":
        told.append(f"no row is `test` with both parts: scores are of the {which} rows")
    return told
