"""Tip-Adapter-F: the cache of Tip-Adapter, its keys F trained by AdamW from the shots' vectors.

`logits = alpha exp(-beta (1 - f F^T)) L + scale f W` with F free, L and W fixed; cross-entropy of
the shots. Source: Zhang et al. 2022, arXiv 2207.09519, section 3.3: AdamW, rate 1e-3 on a cosine,
256 rows a batch. One thing differs: the paper reads augmented pictures, cached vectors are always
the same, and a shot that finds its own key has nothing to learn. So each shot is read without its
own key. The validation rows choose the epoch (the first is Tip-Adapter itself) and then alpha and
beta again.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from mmcli.engine.torch_stack import load_torch
from mmcli.tuning.few_shot import tip_adapter
from mmcli.tuning.few_shot.episode import Array, Episode, Fitted, Floats, best
from mmcli.tuning.few_shot.tip_adapter import logits
from mmcli.tuning.few_shot.zero_shot import text_logits

__all__ = ["fit", "logits"]

EPOCHS, BATCH, RATE = 20, 256, 1e-3
#: Of AdamW, as the paper's code has it: with the usual 1e-8 keys of no weight still run.
_EPSILON = 1e-4


def fit(episode: Episode) -> Fitted:
    """Keys of the best epoch by the validation rows; of the last where there are none."""
    start = tip_adapter.fit(episode)
    alpha, beta = start.settings["alpha"], start.settings["beta"]
    if not len(episode.val.truth):
        *_, keys = train(episode, alpha, beta)
        return tip_adapter.kept(episode, keys, alpha, beta, keys.size)
    names = text_logits(episode.val.shared, episode.texts, episode.scale)

    def tried() -> Iterator[tuple[Array, Floats]]:
        for keys in train(episode, alpha, beta):
            cosines = episode.val.features @ keys.T
            votes = tip_adapter.cache_votes(cosines, episode.shots.truth, episode.classes, beta)
            yield keys, alpha * votes + names

    keys = best(tried(), episode.val.truth)
    alpha, beta = tip_adapter.search(episode, keys)
    return tip_adapter.kept(episode, keys, alpha, beta, keys.size)


def train(episode: Episode, alpha: float, beta: float, epochs: int = EPOCHS) -> Iterator[Array]:
    """The keys `(n, dim)` before the first epoch and after each."""
    torch = load_torch()
    x = torch.from_numpy(np.ascontiguousarray(episode.shots.features))
    truth = torch.from_numpy(episode.shots.truth)
    names = text_logits(episode.shots.shared, episode.texts, episode.scale)
    fixed = torch.from_numpy(names.astype(np.float32))
    values = torch.nn.functional.one_hot(truth, episode.classes).float()
    keys = x.clone().requires_grad_()
    yield keys.detach().numpy().copy()
    steps = math.ceil(len(x) / BATCH)
    optimiser = torch.optim.AdamW([keys], lr=RATE, eps=_EPSILON)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * steps)
    rng = np.random.default_rng((episode.seed, 1))
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(x)), steps):
            here = torch.from_numpy(rows)
            found = _shot_logits(torch, x[here], keys, values, here, alpha, beta) + fixed[here]
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(found, truth[here]).backward()
            optimiser.step()
            schedule.step()
        yield keys.detach().numpy().copy()


def _shot_logits(
    torch: Any, x: Any, keys: Any, values: Any, own: Any, alpha: float, beta: float
) -> Any:
    """What the cache says of shots `(batch, dim)`, each without the key `own` `(batch,)`."""
    affinity = torch.exp(-beta * (1 - x @ keys.T))
    others = torch.ones_like(affinity).scatter_(1, own[:, None], 0.0)
    return alpha * (affinity * others) @ values
