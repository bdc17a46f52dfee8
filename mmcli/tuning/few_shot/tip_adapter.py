"""Tip-Adapter: a cache of the shots added to zero-shot, nothing trained.

`logits = alpha exp(-beta (1 - f F^T)) L + scale f W`: F `(n, dim)` are the unit vectors of the
shots, L `(n, classes)` their classes as zeros and ones, f a picture's unit vector, W the vectors of
the names. alpha says how much the cache counts, beta how near a shot must be to be heard. Source:
Zhang et al. 2022, arXiv 2207.09519, equations 4 to 6; the paper's cache and names share one space,
here F may be of other encoders than W. Both settings are searched on the few validation rows.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmcli.tuning.few_shot.episode import Array, Episode, Fitted, Floats, best, one_hot
from mmcli.tuning.few_shot.zero_shot import text_logits

#: What is searched: names scaled by 100 differ by tens, so alpha must reach far above the paper's.
ALPHAS = tuple(2.0**power for power in range(-3, 11))
BETAS = tuple(2.0**power for power in range(-2, 7))
#: The paper's settings, where there are no rows to search on.
DEFAULT_ALPHA, DEFAULT_BETA = 1.0, 5.5
_ROWS = 1024


def fit(episode: Episode) -> Fitted:
    """The cache, with the alpha and beta that are best on the validation rows."""
    alpha, beta = DEFAULT_ALPHA, DEFAULT_BETA
    if len(episode.val.truth):
        alpha, beta = search(episode, episode.shots.features)
    return kept(episode, episode.shots.features, alpha, beta)


def kept(episode: Episode, keys: Array, alpha: float, beta: float, trained: int = 0) -> Fitted:
    """What is saved of a cache with these keys, `(n, dim)`."""
    if episode.texts is None:
        raise ValueError("the cache needs the vectors of the classes' names")
    arrays = {"keys": keys, "values": episode.shots.truth, "texts": episode.texts}
    return Fitted(arrays, {"alpha": alpha, "beta": beta, "scale": episode.scale}, trained)


def logits(fitted: Fitted, features: Array, shared: Array | None) -> Floats:
    """`(rows, classes)` of `features` `(rows, dim)` and `shared` `(rows, text_dim)`."""
    arrays, settings = fitted.arrays, fitted.settings
    found = text_logits(shared, arrays["texts"], settings["scale"])
    for at in range(0, len(features), _ROWS):
        cosines = features[at : at + _ROWS] @ arrays["keys"].T
        votes = cache_votes(cosines, arrays["values"], len(arrays["texts"]), settings["beta"])
        found[at : at + _ROWS] += settings["alpha"] * votes
    return found


def cache_votes(cosines: Array, values: NDArray[np.int64], classes: int, beta: float) -> Floats:
    """`exp(-beta (1 - cosines)) L`, `(rows, classes)`; cosines `(rows, n)`, values `(n,)`."""
    affinity = np.exp(-beta * (1.0 - cosines.astype(np.float64)))
    return affinity @ one_hot(values, classes)


def search(episode: Episode, keys: Array) -> tuple[float, float]:
    """alpha and beta by the validation rows, for a cache with these keys."""
    names = text_logits(episode.val.shared, episode.texts, episode.scale)
    cosines = episode.val.features @ keys.T

    def tried() -> Iterator[tuple[tuple[float, float], Floats]]:
        for beta in BETAS:
            votes = cache_votes(cosines, episode.shots.truth, episode.classes, beta)
            for alpha in ALPHAS:
                yield (alpha, beta), alpha * votes + names

    alpha, beta = best(tried(), episode.val.truth)
    return alpha, beta
