"""Columns written into the text before it is embedded: the view that `early:as-text` reads.

The texts of a store are embedded again by the encoder that its text key names, with the columns
behind them. Knows nothing about training.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.engine.encode import encode_parts
from mmcli.fusion.early.as_text import written
from mmcli.fusion.inputs import Inputs, View
from mmcli.store.reader import Store
from mmcli.workflows.queries.plans import load_query_encoder, plan_bound

VIEW = "as-text"
_ROWS = 4096


def check_as_text(inputs: Inputs, columns: Sequence[str]) -> None:
    """Raise BadInput unless there are texts to write into, and columns to write."""
    if "text" not in inputs.modalities:
        raise BadInput("`early:as-text` needs texts, and there are none", "extract them too")
    if not columns:
        raise BadInput("`early:as-text` needs columns to write", "name them with `--tabular`")


def add_as_text(
    store: Store,
    inputs: Inputs,
    bound: Mapping[str, Mapping[str, Any]],
    columns: Sequence[str],
    device: str,
    precision: str,
) -> None:
    """Give the text modality that view; the tabular one has nothing left to say in it.

    bound: what is kept of the text keys. Raises BadInput where the store's encoder or texts are
    not known.
    """
    check_as_text(inputs, columns)
    key = inputs.modalities["text"].keys[0]
    plan = plan_bound(key, bound[key], store.manifest.get("options") or {})
    if plan is None:
        raise BadInput(
            f"`{store.path}`: the encoder of key `{key}` is not known, so its texts cannot be"
            " embedded again",
            "use a store that `mmcli extract` wrote, or another method",
        )
    if "text" not in store.columns:
        raise BadInput(f"`{store.path}` has no column `text`", "extract it with its texts")
    encoder = load_query_encoder(plan, device, precision)
    dim = encoder.card.dim
    matrix = np.zeros((store.rows, dim), np.float32)
    for start, table in store.iter_items(list(dict.fromkeys(["text", *columns]))):
        rows = table.to_pylist()
        for at in range(0, len(rows), _ROWS):
            some = rows[at : at + _ROWS]
            texts = [written(r["text"], {c: r[c] for c in columns}) for r in some]
            filled = [i for i, text in enumerate(texts) if text]
            if filled:
                output = encode_parts(encoder, [texts[i] for i in filled], layer=plan.layer)
                matrix[start + at + np.array(filled)] = output.pooled.numpy()
    inputs.modalities["text"].views[VIEW] = View((dim,), matrix=matrix)
    if inputs.tabular:
        rows_in_all = len(inputs.modalities[inputs.tabular].present)
        nothing = View((1,), matrix=np.zeros((rows_in_all, 1), np.float32))
        nothing.mean, nothing.scale = np.zeros(1, np.float32), np.ones(1, np.float32)
        inputs.modalities[inputs.tabular].views[VIEW] = nothing
