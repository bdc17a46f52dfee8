"""Linear layers whose rows have the same bits however many rows there are.

MKL's fp32 matrix product takes other paths below 12 rows on one CPU (measured: 1-3, 5-7 and 9-11
rows differ in their last bits from the same rows among 2,048) and below 16 on another, and so do
oneDNN's convolutions; 16 and more never do, on one thread, two or four. Rows of zeros fill up.
"""

from typing import Any

from mmcli.engine.torch_stack import load_torch

LEAST_ROWS = 16
#: oneDNN's bf16 product on AMX adds up in other blocks below about 500 rows where a layer is 512
#: wide, below 752 where it is 768 or 1,024 (at 384 never); a token is a row.
LEAST_TOKENS = 768


def steady(layer: Any, rows: Any) -> Any:
    """`layer(rows)` for `(n, dim)`, computed on at least LEAST_ROWS rows, in bf16 LEAST_TOKENS."""
    torch = load_torch()
    missing = (LEAST_TOKENS if rows.dtype == torch.bfloat16 else LEAST_ROWS) - rows.shape[0]
    if missing <= 0:
        return layer(rows)
    filled = torch.nn.functional.pad(rows, (0, 0, 0, missing))
    return layer(filled)[: rows.shape[0]]
