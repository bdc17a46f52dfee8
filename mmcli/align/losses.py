"""Contrastive losses of a batch against itself, with their gradients, in bounded memory.

With scores s_ij = x_i·y_j, E = exp(s · scale - shift), row sums r and column sums c, the gradient
of symmetric InfoNCE needs products with E and no other pass over the matrix:

    d x = scale / 2n · (E y / r + E (y / c) - 2 · mean of the positives' y)      and likewise d y.

E is kept where it is small, else made again from chunks of rows. Knows nothing of towers or data.
"""

from typing import Any

from mmcli.engine.torch_stack import load_torch

torch = load_torch()

#: Largest inverse temperature, as in CLIP: beyond it training was found unstable.
MOST_SCALE = 100.0
#: Bytes of E that are kept; a batch of 8,192 rows in bf16 takes half of it.
MOST_KEPT = 1 << 28
#: Scores in a chunk when nobody says: 16 MB in fp32.
CHUNK_SCORES = 1 << 22
#: A sum below this has lost digits to underflow: then every row and column gets its own shift.
LEAST_SUM = 1e-24
#: Terms of a sum that one product with ones adds.
SUM_BLOCK = 128


class _InfoNCE(torch.autograd.Function):  # type: ignore[misc,name-defined]
    """`info_nce` with its gradient; see there."""

    @staticmethod
    def forward(
        context: Any, query: Any, key: Any, scale: Any, groups: Any, chunk: int | None, dtype: Any
    ) -> Any:
        """The loss; gradients are kept for `backward`, which only scales them."""
        n, factor = len(query), float(scale)
        q, k = query.detach().to(dtype), key.detach().to(dtype)
        found = _even(q, k, factor, chunk)
        if found is None:
            found = _uneven(q, k, factor, chunk)
        log_sums, by_key, by_query, d_scale = found
        own_q, own_k = _positives(query.detach(), groups), _positives(key.detach(), groups)
        matched = 2 * (query.detach() * own_k).sum(dtype=torch.float64)
        context.save_for_backward(
            (by_key - 2 * own_k).mul_(factor / (2 * n)),
            (by_query - 2 * own_q).mul_(factor / (2 * n)),
        )
        context.d_scale = float(d_scale - matched) / (2 * n)
        return ((log_sums - factor * matched) / (2 * n)).float()

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:
        d_query, d_key = context.saved_tensors
        d_scale = (gradient * context.d_scale).float()
        return d_query * gradient, d_key * gradient, d_scale, None, None, None


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
    with torch.autocast(device, enabled=False):
        return _InfoNCE.apply(query.float(), key.float(), scale, groups, chunk, dtype)


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
    groups = torch.arange(n, device=query.device) if groups is None else groups

    def part(rows: Any, members: Any, columns: Any, scale: Any, bias: Any) -> Any:
        signs = (members[:, None] == groups[None]).float().mul_(2).sub_(1)
        return -torch.nn.functional.logsigmoid(signs * (scale * (rows @ columns.T) + bias)).sum()

    total = query.new_zeros((), dtype=torch.float32)
    for rows in _chunks(n, chunk):
        total = total + torch.utils.checkpoint.checkpoint(
            part, query[rows], groups[rows], key, scale, bias, use_reentrant=False
        )
    return total / n


def _chunks(n: int, chunk: int | None) -> list[slice]:
    chunk = chunk or max(16, CHUNK_SCORES // max(1, n))
    return [slice(start, min(start + chunk, n)) for start in range(0, n, chunk)]


def _positives(x: Any, groups: Any) -> Any:
    """The mean of the vectors of each row's group; without groups the rows themselves."""
    if groups is None:
        return x.float()
    _, inverse, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    sums = torch.zeros((len(counts), x.shape[1]), device=x.device)
    sums.index_add_(0, inverse, x.float())
    return (sums / counts[:, None])[inverse]


def _even(q: Any, k: Any, factor: float, chunk: int | None) -> Any:
    """Sums of logs, softmax means of keys and of queries, and what the scale gets, by one shift.

    None when a sum is so small that the shift does not fit all rows and columns.
    """
    n = len(q)
    whole = chunk is None and n * n * q.element_size() <= MOST_KEPT
    parts = [slice(0, n)] if whole else _chunks(n, chunk)
    scaled = q * factor
    # no score is above `factor`, since the vectors have unit length; small ones need no shift
    shift = factor if factor > 40 else 0.0
    rows, columns = torch.empty(n, device=q.device), torch.zeros(n, device=q.device)
    by_rows = torch.empty(q.shape, device=q.device)
    by_query, by_query_columns = torch.zeros_like(by_rows), torch.zeros_like(by_rows)
    kept = None
    for part in parts:
        weights = kept = _weights(scaled[part], k, shift)
        rows[part] = _sums(weights)
        columns += _sums(weights.T)
        by_rows[part] = (weights @ k).float() / rows[part, None]
        both = torch.cat([q[part], (q[part].float() / rows[part, None]).to(q.dtype)], dim=1)
        summed = (both.T @ weights).T.float()
        by_query_columns += summed[:, : q.shape[1]]
        by_query += summed[:, q.shape[1] :]
    least = float(torch.minimum(rows.min(), columns.min()))
    if not least > LEAST_SUM or not torch.isfinite(rows).all():
        return None
    by_query += by_query_columns / columns[:, None]
    by_key = by_rows
    shared = (k.float() / columns[:, None]).to(k.dtype)
    for part in parts:
        weights = kept if whole else _weights(scaled[part], k, shift)
        by_key[part] += (weights @ shared).float()
    logs = (rows.log().sum(dtype=torch.float64) + columns.log().sum(dtype=torch.float64)) + (
        2 * n * shift
    )
    return logs, by_key, by_query, (q.float() * by_key).sum(dtype=torch.float64)


def _weights(scaled: Any, k: Any, shift: float) -> Any:
    """exp(scores - shift), in place of the scores."""
    scores = scaled @ k.T
    return scores.sub_(shift).exp_() if shift else scores.exp_()


def _sums(weights: Any) -> Any:
    """fp32 sums of the rows of a matrix or of its transpose.

    Half-precision sums are slow on a CPU, products with ones are fast; blocks of them are added in
    fp32, so that what each rounds averages out (to 2e-4 of 8,192 terms in bf16).
    """
    length = weights.shape[1] - weights.shape[1] % SUM_BLOCK
    if weights.dtype == torch.float32 or not length:
        return weights.sum(1, dtype=torch.float32)
    ones = torch.ones(SUM_BLOCK, 1, dtype=weights.dtype, device=weights.device)
    blocks = weights[:, :length].unflatten(1, (-1, SUM_BLOCK))
    if weights.is_contiguous():
        partial = (blocks @ ones).squeeze(2)
    else:  # a transpose: blocks of rows of what it is the transpose of
        partial = (ones.T @ blocks.permute(1, 2, 0)).squeeze(1).T
    rest = weights[:, length:].sum(1, dtype=torch.float32)
    return partial.sum(1, dtype=torch.float32) + rest


def _uneven(q: Any, k: Any, factor: float, chunk: int | None) -> Any:
    """The same with a shift for each row and column: two exponentials a score, any range."""
    n = len(q)
    rows = torch.empty(n, device=q.device)
    columns = torch.full((n,), -float("inf"), device=q.device)
    for part in _chunks(n, chunk):
        scores = (q[part] @ k.T).float().mul_(factor)
        rows[part] = scores.logsumexp(1)
        columns = torch.logaddexp(columns, scores.logsumexp(0))
    by_key, by_query = torch.empty(q.shape, device=q.device), torch.zeros(q.shape, device=q.device)
    for part in _chunks(n, chunk):
        scores = (q[part] @ k.T).float().mul_(factor)
        weights = (scores - rows[part, None]).exp_().add_(scores.sub_(columns[None]).exp_())
        weights = weights.to(q.dtype)
        by_key[part] = (weights @ k).float()
        by_query += (weights.T @ q[part]).float()
    logs = rows.sum(dtype=torch.float64) + columns.sum(dtype=torch.float64)
    return logs, by_key, by_query, (q.float() * by_key).sum(dtype=torch.float64)
