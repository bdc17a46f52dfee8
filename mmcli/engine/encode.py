"""One batch through an encoder, and a handful of parts without any pipeline.

`forward` is what the extraction pipeline calls for each batch; `encode_parts` serves queries,
prompts and tests, where everything fits in memory.
"""

from collections.abc import Sequence
from typing import Any

from mmcli.core.types import Encoder, Output, Prepared
from mmcli.engine.batching import cut, padded_length
from mmcli.engine.torch_stack import load_torch


def forward(encoder: Encoder, rows: Sequence[Prepared]) -> Any:
    """The trunk's features of one batch whose rows share a bucket."""
    torch = load_torch()
    with torch.inference_mode():
        return encoder.trunk(encoder.collate(rows, padded_length(rows)))


def pool(encoder: Encoder, features: Any, sequence: bool, layer: int | None) -> Output:
    """The head's output, on the CPU: pooled float32 `(batch, dim)`."""
    torch = load_torch()
    with torch.inference_mode():
        output = encoder.head(features, sequence=sequence, layer=layer)
        parts = output.sequence
        return Output(
            output.pooled.float().cpu(),
            None if parts is None else [part.float().cpu() for part in parts],
            output.columns,
        )


def encode_parts(
    encoder: Encoder, parts: Sequence[Any], *, sequence: bool = False, layer: int | None = None
) -> Output:
    """Decoded parts through an encoder, rows in the order given, everything on the CPU."""
    torch = load_torch()
    prepared = encoder.prepare(parts) if len(parts) else []
    dim = encoder.card.dim
    pooled = torch.zeros((len(prepared), dim))
    tokens: list[Any] = [None] * len(prepared)
    columns: dict[str, list[Any]] = {name: [None] * len(prepared) for name in encoder.card.columns}
    for members in cut(prepared, encoder.budget):
        features = forward(encoder, [prepared[i] for i in members])
        output = pool(encoder, features, sequence, layer)
        if output.pooled.shape[1] != pooled.shape[1]:
            pooled = torch.zeros((len(prepared), output.pooled.shape[1]))
        for position, row in enumerate(members):
            pooled[row] = output.pooled[position]
            if output.sequence is not None:
                tokens[row] = output.sequence[position]
            for name, values in (output.columns or {}).items():
                columns[name][row] = values[position]
    return Output(pooled, tokens if sequence else None, columns or None)
