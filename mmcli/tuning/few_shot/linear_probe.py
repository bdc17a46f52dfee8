"""Linear probe: multinomial logistic regression on the embeddings of the shots.

`logits = W x + b` with the least `mean cross-entropy + |W|^2 / (2 C n)`, b free, n shots: this is
scikit-learn's objective, C times the summed cross-entropy plus half of |W|^2. Source: Radford et
al. 2021, arXiv 2103.00020, appendix A.3, which also chooses C on validation rows. The solution
lies in the span of the shots, so it is sought there: n numbers a class instead of dim.
"""

from collections.abc import Iterator

import numpy as np

from mmcli.engine.torch_stack import load_torch
from mmcli.tuning.few_shot.episode import Array, Episode, Fitted, Floats, best

#: C, from a probe that hardly leaves the class shares to one that hardly holds W back.
STRENGTHS = tuple(10.0**power for power in range(-1, 5))
#: C where there are no rows to choose it by: on unit vectors the middle of what is chosen.
DEFAULT_STRENGTH = 100.0
_ITERATIONS = 300


def fit(episode: Episode) -> Fitted:
    """The probe of the strength that is best on the validation rows."""
    choosing = len(episode.val.truth) > 0
    fits = list(solve(episode, STRENGTHS if choosing else (DEFAULT_STRENGTH,)))
    val = episode.val.features.astype(np.float64)
    at = 0
    if choosing:
        tried = ((i, val @ weight + bias) for i, (_, weight, bias) in enumerate(fits))
        at = best(tried, episode.val.truth)
    strength, weight, bias = fits[at]
    arrays = {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
    return Fitted(arrays, {"C": strength}, weight.size + bias.size)


def logits(fitted: Fitted, features: Array, shared: Array | None) -> Floats:
    """`(rows, classes)` of `features`, `(rows, dim)`."""
    found: Floats = (features @ fitted.arrays["weight"]).astype(np.float64)
    return found + fitted.arrays["bias"]


def solve(episode: Episode, strengths: tuple[float, ...]) -> Iterator[tuple[float, Floats, Floats]]:
    """C, weight `(dim, classes)` and bias `(classes,)` of each C, ascending, by L-BFGS.

    Each starts where the one before ended.
    """
    torch = load_torch()
    shots = episode.shots.features.astype(np.float64)
    basis, _ = np.linalg.qr(shots.T)  # (dim, at most n), orthonormal
    x, truth = torch.from_numpy(shots @ basis), torch.from_numpy(episode.shots.truth)
    weight = torch.zeros(x.shape[1], episode.classes, dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(episode.classes, dtype=x.dtype, requires_grad=True)
    for strength in sorted(strengths):
        search = torch.optim.LBFGS(
            [weight, bias],
            max_iter=_ITERATIONS,
            tolerance_grad=1e-6,
            history_size=20,
            line_search_fn="strong_wolfe",
        )
        pull = 1 / (2 * strength * len(x))

        def loss(search=search, pull=pull):  # type: ignore[no-untyped-def]
            search.zero_grad()
            found = torch.nn.functional.cross_entropy(x @ weight + bias, truth)
            found = found + pull * weight.square().sum()
            found.backward()
            return found

        search.step(loss)
        yield strength, basis @ weight.detach().numpy(), bias.detach().numpy().copy()
