"""How well towers bring matched rows together: hit@k of held-out rows, every pair, both ways."""

from collections.abc import Mapping, Sequence

import numpy as np

from mmcli.align.features import Features, Rows, Vectors, subset
from mmcli.align.tower import Branch, Tower
from mmcli.engine.exact_ranks import hit_at_k, relevance_by_value

#: Measures by direction, as in `{"text-to-image": {"hit@1": 0.4, …}, …}`.
Scores = dict[str, dict[str, float]]
#: The k of hit@k that training looks at; their mean decides when to stop and what to choose.
KS = (1, 10)
#: Rows that are scored while training; more would take longer and decide no better.
MOST_ROWS = 4_000


def score_towers(
    features: Features,
    towers: Mapping[str, Tower],
    rows: Rows,
    ks: Sequence[int] = KS,
    most: int = MOST_ROWS,
) -> Scores:
    """`{"text-to-image": {"hit@1": …, "queries": …}, …}` over the rows, every direction."""
    rows = subset(rows, most, seed=0)
    embedded: dict[str, tuple[Rows, Vectors]] = {}
    for name, tower in towers.items():
        here = features.rows_with(rows, name)
        if len(here):
            embedded[name] = (here, tower.apply(features.parts[name].take(here, tower.keys)))
    return score_vectors(features, embedded, ks)


def score_shared(features: Features, rows: Rows) -> Scores:
    """Scores of the space that the modalities share before any map; empty when they share none."""
    keys = {name: features.shared_key(name) for name in features.modalities}
    if not all(keys.values()):
        return {}
    towers = {
        name: Tower((Branch((str(key),), "identity"),), features.parts[name].dim(str(key)))
        for name, key in keys.items()
    }
    return score_towers(features, towers, rows)


def score_vectors(
    features: Features, embedded: Mapping[str, tuple[Rows, Vectors]], ks: Sequence[int] = KS
) -> Scores:
    """The same of vectors that are there already: rows and `(rows, dim)` a modality."""
    found: Scores = {}
    for a, b in features.pairs():
        if a not in embedded or b not in embedded:
            continue
        for query, target in ((a, b), (b, a)):
            (query_rows, queries), (target_rows, targets) = embedded[query], embedded[target]
            relevant = relevance_by_value(
                features.groups[query_rows].tolist(), features.groups[target_rows].tolist()
            )
            hits = hit_at_k(queries, targets, relevant, ks)
            found[f"{query}-to-{target}"] = {
                **{f"hit@{k}": hits[k] for k in ks},
                "queries": int((relevant.counts() > 0).sum()),
                "targets": len(target_rows),
            }
    return found


def summary(scores: Mapping[str, Mapping[str, float]], ks: Sequence[int] = KS) -> float:
    """One number to choose by: the mean of hit@k over directions and k; NaN without any."""
    values = [scores[direction][f"hit@{k}"] for direction in scores for k in ks]
    return float(np.mean(values)) if values else float("nan")
