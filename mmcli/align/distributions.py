"""How far two clouds of vectors are apart, whatever their pairing: MMD, moments, transport."""

from typing import Any

from mmcli.engine.torch_stack import load_torch

torch = load_torch()

#: Kernel widths around the median distance: one width sees only one scale.
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def mmd(x: Any, y: Any) -> Any:
    """Squared maximum mean discrepancy of `(n, dim)` and `(m, dim)`, a mixture of Gaussian kernels.

    mean k(x, x') + mean k(y, y') - 2 mean k(x, y), pairs of a row with itself left out, so that it
    is unbiased and may fall below zero. Widths are multiples of the median squared distance.
    Source: Gretton et al. 2012, JMLR 13, eq. 3; Li, Swersky & Zemel 2015, arXiv 1502.02761.
    """
    n, m = len(x), len(y)
    both = torch.cat([x, y])
    square = torch.cdist(both, both).square()
    middle = square.detach()[~torch.eye(n + m, dtype=torch.bool, device=x.device)].median()
    kernel = sum(torch.exp(-square / (width * middle.clamp_min(1e-9))) for width in WIDTHS)
    kernel = kernel / len(WIDTHS)
    within_x = (kernel[:n, :n].sum() - n) / (n * max(1, n - 1))
    within_y = (kernel[n:, n:].sum() - m) / (m * max(1, m - 1))
    return within_x + within_y - 2 * kernel[:n, n:].mean()


def moments(x: Any, y: Any) -> Any:
    """Squared differences of means and of covariances of `(n, dim)` and `(m, dim)`.

    Source: Sun & Saenko 2016, arXiv 1607.01719 (CORAL), with the means added.
    """
    mean = (x.mean(0) - y.mean(0)).square().sum()
    return mean + (_covariance(x) - _covariance(y)).square().sum()


def transport(scores: Any, sharpness: float = 20.0, rounds: int = 30) -> Any:
    """How two sets would be matched if each row had its share: `(n, m)`, rows and columns even.

    scores: `(n, m)`. Entropic optimal transport by Sinkhorn's iteration in the log domain; rows sum
    to one, columns to n / m. Source: Cuturi 2013, arXiv 1306.0895.
    """
    n, m = scores.shape
    log = scores * sharpness
    for _ in range(rounds):
        log = log - log.logsumexp(0, keepdim=True) + float(torch.tensor(n / m).log())
        log = log - log.logsumexp(1, keepdim=True)
    return log.exp()


def _covariance(x: Any) -> Any:
    centred = x - x.mean(0)
    return centred.T @ centred / max(1, len(x) - 1)
