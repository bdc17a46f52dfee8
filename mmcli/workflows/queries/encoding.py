"""Queries through encoders: words, pictures or recordings, decoded once for all that read them.

Imports torch; a search by words whose tower is exported does not come here.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput
from mmcli.data.decode import PartTask, decode_parts
from mmcli.engine.encode import encode_parts
from mmcli.workflows.queries.file import QueryPart
from mmcli.workflows.queries.plans import QueryPlan, load_query_encoder

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Encoded:
    """What the encoder of one plan says of every query.

    vectors: `(queries, dim)`. sequences: `(length, dim)` each, where they were asked for. scripts:
    those the encoder covers. heard: transcripts, of recordings.
    """

    vectors: Vectors
    sequences: list[Vectors]
    scripts: tuple[str, ...]
    heard: list[str]


def encode_queries(
    plans: Mapping[str, QueryPlan],
    kind: str,
    values: Sequence[str],
    parts: Sequence[QueryPart],
    device: str,
    precision: str,
    *,
    sequence: bool = False,
) -> dict[str, Encoded]:
    """What each plan's encoder says of the values, all of one kind, under the plan's name.

    parts: where each value came from, for messages; may be empty. Raises BadInput that names the
    first value which cannot be read.
    """
    encoders = {name: load_query_encoder(plan, device, precision) for name, plan in plans.items()}
    decoded = _decode(kind, values, parts, [encoder.recipe for encoder in encoders.values()])
    found = {}
    for number, (name, encoder) in enumerate(encoders.items()):
        given = [row[number] for row in decoded]
        output = encode_parts(encoder, given, sequence=sequence, layer=plans[name].layer)
        found[name] = Encoded(
            np.asarray(output.pooled.numpy(), dtype=np.float32),
            [np.asarray(s.numpy(), dtype=np.float32) for s in output.sequence or []],
            tuple(encoder.card.scripts),
            list((output.columns or {}).get("transcript", [])),
        )
    return found


def _decode(
    kind: str, values: Sequence[str], parts: Sequence[QueryPart], recipes: Sequence[Any]
) -> list[tuple[Any, ...]]:
    """One decoded value a recipe, for each of the values."""
    is_path = kind != "text"
    tasks = [
        PartTask(i, kind, os.path.abspath(value) if is_path else value, is_path)
        for i, value in enumerate(values)
    ]
    results, _, _ = decode_parts(tasks, {kind: tuple(recipes)})
    decoded = []
    for result in results:
        if result.values is None:
            where = parts[result.row].where + ": " if parts and parts[result.row].where else ""
            raise BadInput(
                f"{where}{kind} `{values[result.row]}` {result.message or result.error}",
                f"give {kind} that can be read",
            )
        decoded.append(result.values)
    return decoded
