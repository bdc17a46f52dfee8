"""Contrastive losses of a batch against itself, in chunks of rows so that the whole matrix of
scores never exists.

The gradient is computed beside the loss, from the same chunk: one product of matrices forward, two
back, nothing kept. Knows nothing about towers or data.
"""

from typing import Any

from mmcli.engine.torch_stack import load_torch

torch = load_torch()

#: Largest inverse temperature, as in CLIP: beyond it training was found unstable.
MOST_SCALE = 100.0
#: Scores held at a time when nobody says: 16 MB in fp32, which two caches of a core share.
CHUNK_SCORES = 1 << 22


class ChunkedInfoNCE(torch.autograd.Function):  # type: ignore[misc,name-defined]
    """`info_nce` with its gradient; see there."""

    @staticmethod
    def forward(
        context: Any, query: Any, key: Any, scale: Any, groups: Any, chunk: int, dtype: Any
    ) -> Any:
        """Two passes over chunks of rows: the normalisers of both directions, then gradients."""
        n = len(query)
        factor = float(scale)
        q, k = query.detach().to(dtype), key.detach().to(dtype)
        counts = _positives(groups) if groups is not None else None
        rows, columns, shift = _normalisers(q, k, factor, chunk)
        d_query, d_key = torch.zeros_like(query, dtype=torch.float32), None
        d_key = torch.zeros_like(d_query)
        loss = (rows.sum() + columns.sum()).double()
        d_scale = torch.zeros((), dtype=torch.float64)
        matched = torch.zeros((), dtype=torch.float64)
        for start in range(0, n, chunk):
            stop = min(start + chunk, n)
            scores = (q[start:stop] @ k.T).float()
            weights = _softmaxes(scores, factor, rows[start:stop], columns, shift)
            if groups is None:
                diagonal = scores.diagonal(start)
                matched += 2 * diagonal.double().sum()
                weights.diagonal(start).sub_(2.0)
            else:
                target = (groups[start:stop, None] == groups[None]).float()
                target.mul_((1 / counts[start:stop])[:, None] + (1 / counts)[None])
                matched += (target * scores).double().sum()
                weights.sub_(target)
            d_scale += (weights * scores).double().sum()
            weights = weights.to(dtype)
            d_query[start:stop] = (weights @ k).float()
            d_key += (weights.T @ q[start:stop]).float()
        loss -= factor * matched
        context.save_for_backward(d_query.mul_(factor / (2 * n)), d_key.mul_(factor / (2 * n)))
        context.d_scale = float(d_scale) / (2 * n)
        return (loss / (2 * n)).to(torch.float32).to(query.device)

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:
        d_query, d_key = context.saved_tensors
        d_scale = torch.as_tensor(context.d_scale, device=gradient.device) * gradient
        return d_query * gradient, d_key * gradient, d_scale.float(), None, None, None


def info_nce(query: Any, key: Any, scale: Any, groups: Any = None, chunk: int | None = None) -> Any:
    """Symmetric contrastive loss of matched rows, in nats.

    query, key: unit vectors `(batch, dim)`; row i of one matches row i of the other. scale: the
    inverse temperature, a scalar tensor of at most 100. groups: `(batch,)`; every row of one number
    is a positive of the others, and the target is spread over them evenly (Khosla et al. 2020,
    arXiv 2004.11362, the sum outside the logarithm). chunk: rows of the scores held at a time;
    None chooses. Products are taken in the autocast type, sums in fp32. Raises ValueError when the
    batches differ. Source: Radford et al. 2021, arXiv 2103.00020, fig. 3.
    """
    if query.shape != key.shape:
        raise ValueError(f"{tuple(query.shape)} rows do not match {tuple(key.shape)}")
    device = query.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
    if chunk is None:
        chunk = max(16, CHUNK_SCORES // max(1, len(key)))
    with torch.autocast(device, enabled=False):
        return ChunkedInfoNCE.apply(query.float(), key.float(), scale, groups, chunk, dtype)


def sigmoid_loss(
    query: Any, key: Any, scale: Any, bias: Any, groups: Any = None, chunk: int | None = None
) -> Any:
    """Every pair of the batch as a yes or no of its own, in nats a row.

    -1/n sum_ij log sigmoid(z_ij (scale x_i·y_j + bias)), z = 1 for positives and -1 for others.
    query, key, groups, chunk as in `info_nce`; chunks are computed again for the gradient. Source:
    Zhai et al. 2023, arXiv 2303.15343, algorithm 1.
    """
    if query.shape != key.shape:
        raise ValueError(f"{tuple(query.shape)} rows do not match {tuple(key.shape)}")
    n = len(query)
    chunk = chunk or max(16, CHUNK_SCORES // max(1, n))
    groups = torch.arange(n, device=query.device) if groups is None else groups

    def part(rows: Any, members: Any, columns: Any, scale: Any, bias: Any) -> Any:
        signs = (members[:, None] == groups[None]).float().mul_(2).sub_(1)
        return -torch.nn.functional.logsigmoid(signs * (scale * (rows @ columns.T) + bias)).sum()

    total = query.new_zeros((), dtype=torch.float32)
    for start in range(0, n, chunk):
        piece = query[start : start + chunk], groups[start : start + chunk]
        total = total + torch.utils.checkpoint.checkpoint(
            part, *piece, key, scale, bias, use_reentrant=False
        )
    return total / n


def _positives(groups: Any) -> Any:
    """How many rows of the batch share each row's group, itself among them."""
    _, inverse, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    return counts[inverse].float()


def _normalisers(q: Any, k: Any, factor: float, chunk: int) -> tuple[Any, Any, float | None]:
    """log sum exp of every row and column `(n,)`.

    One exponential serves both directions while all scores lie within reach of one shift (the
    third result); else each row and column has a maximum of its own.
    """
    n = len(q)
    shift = factor  # no score is larger: the vectors have unit length
    rows = torch.empty(n, device=q.device)
    columns = torch.zeros(n, device=q.device)
    for start in range(0, n, chunk):
        weights = (q[start : start + chunk] @ k.T).float().sub_(1.0).mul_(factor).exp_()
        rows[start : start + chunk] = weights.sum(1)
        columns += weights.sum(0)
    least = float(torch.minimum(rows.min(), columns.min()))
    if least > 1e-24:
        return rows.log_().add_(shift), columns.log_().add_(shift), shift
    columns.fill_(-float("inf"))
    for start in range(0, n, chunk):
        scores = (q[start : start + chunk] @ k.T).float().mul_(factor)
        rows[start : start + chunk] = scores.logsumexp(1)
        columns = torch.logaddexp(columns, scores.logsumexp(0))
    return rows, columns, None


def _softmaxes(scores: Any, factor: float, rows: Any, columns: Any, shift: float | None) -> Any:
    """Softmax over columns plus softmax over rows, of a chunk of rows; `scores` stay."""
    if shift is not None:
        weights = scores.sub(1.0).mul_(factor).exp_()
        return weights.mul_((shift - rows).exp()[:, None] + (shift - columns).exp()[None])
    logits = scores * factor
    return (logits - rows[:, None]).exp_().add_(logits.sub_(columns[None]).exp_())
