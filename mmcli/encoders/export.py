"""A text tower as ONNX, so that an index can be searched without torch.

Pooling, dense layers, projection and normalisation are inside the graph, and whatever a caller
wants to follow them; the tokenizer goes beside it. What was written is run and compared with the
original. Knows nothing about indexes or aligners.
"""

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.encoders.cards import finished
from mmcli.encoders.steady import LEAST_ROWS
from mmcli.encoders.text import TextEncoder
from mmcli.encoders.tokens import TokenBatch
from mmcli.engine.batching import padded_length
from mmcli.engine.encode import encode_parts
from mmcli.engine.torch_stack import load_torch

OPSET = 17
#: The largest difference of any coordinate that is accepted.
TOLERANCE = 1e-4
#: The file of weights beside `model.onnx`, as ONNX's external data.
WEIGHTS = "model.onnx.data"
#: Smaller tensors stay in the graph.
_LEAST_BYTES = 1024
_INPUTS = ["input_ids", "attention_mask"]
#: Short, long, repeated and empty texts, so that several padded lengths are compared.
_PROBES = (
    "a cup of coffee",
    "a",
    "",
    "A photographer with a tripod stands at the sea, looking for the light that was promised.",
    "words " * 60,
)


@dataclass(frozen=True)
class After:
    """What follows the encoder inside the graph.

    module: tensors `(batch, dim)` to `(batch, out)`. reference: the same for float32 arrays, with
    which the graph is compared. told: what `query.json` says otherwise than of the encoder alone,
    as `space` and `dim`.
    """

    module: Callable[[Any], Any]
    reference: Callable[[Any], Any]
    told: Mapping[str, Any]


def export_text(encoder: Any, directory: Path, after: After | None = None) -> str:
    """Write `model.onnx` with its weights, `tokenizer.json` and `query.json` into a directory.

    encoder: a text encoder of this package, loaded in fp32 on the CPU. Returns an empty string, or
    why the tower cannot be exported; the files are then not there. MMCLI_DEBUG=1 raises it instead.
    """
    if not isinstance(encoder, TextEncoder):
        return f"{type(encoder).__name__} is not a text tower that can be exported"
    if encoder.dtype != "float32" or encoder.tokenizer.device != "cpu":
        return "it was not loaded in fp32 on the CPU"
    names = ("model.onnx", "tokenizer.json", "query.json", WEIGHTS)
    files = [directory / name for name in names]
    try:
        _write_graph(encoder, files[0], after)
        encoder.tokenizer.core.save(str(files[1]))
        told = {**describe(encoder), **(after.told if after else {})}
        files[2].write_text(json.dumps(told, sort_keys=True, indent=1) + "\n")
        worst = _difference(encoder, directory, after)
    except Exception as error:  # the exporter fails in many ways; each means: use the engine
        if os.environ.get("MMCLI_DEBUG"):
            raise
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:200]
    else:
        if worst <= TOLERANCE:
            return ""
        reason = f"the exported graph differs from the original by {worst:.1e}"
    for path in files:
        path.unlink(missing_ok=True)
    return reason


def describe(encoder: TextEncoder) -> dict[str, Any]:
    """What a torch-free query has to know beside the graph and the tokenizer."""
    card = encoder.card
    return {
        "encoder": card.name,
        "weights_sha256": card.weights_sha256,
        "revision": card.revision,
        "space": card.space,
        "dim": card.dim,
        "normalized": card.normalized,
        "prompt": encoder.tokenizer.prompt,
        "lower_case": encoder.tokenizer.lower_case,
        "max_length": encoder.tokenizer.max_length,
        "pad_id": encoder.tokenizer.pad_id,
        "scripts": list(card.scripts),
        "inputs": _INPUTS,
        "output": "embedding",
    }


def _write_graph(encoder: TextEncoder, path: Path, after: After | None) -> None:
    torch = load_torch()

    class Tower(torch.nn.Module):  # type: ignore[name-defined,misc]
        def forward(self, ids: Any, mask: Any) -> Any:
            batch = TokenBatch(ids, mask, [])
            pooled = encoder.project(encoder.trunk(batch))
            vectors = finished(pooled, encoder.options.dim, encoder.card.normalized)
            return after.module(vectors) if after else vectors

    # more rows than `steady` fills up to, so that its filling is not traced into the graph
    prepared = encoder.prepare(["a cup of coffee"] * (LEAST_ROWS + 1))
    sample = encoder.collate(prepared, padded_length(prepared))
    rows, columns = {0: "batch", 1: "length"}, {0: "batch"}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as folder:
        whole = Path(folder) / path.name
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                Tower().eval(),
                (sample.ids, sample.mask),
                str(whole),
                input_names=_INPUTS,
                output_names=["embedding"],
                dynamic_axes={"input_ids": rows, "attention_mask": rows, "embedding": columns},
                opset_version=OPSET,
                dynamo=False,
            )
        _split(whole, path)


def _split(whole: Path, path: Path) -> None:
    """Write a graph with its weights in a file beside it, which ONNX Runtime maps into memory.

    Opening MiniLM takes 0.04 s instead of 0.28 s then, and half the memory.
    """
    import onnx

    model = onnx.load(whole)
    graph, others = model.graph, []
    for node in graph.node:  # torch writes weights as constants, which cannot lie elsewhere
        value = node.attribute[0].t if node.op_type == "Constant" and node.attribute else None
        if value is None or len(value.raw_data) < _LEAST_BYTES:
            others.append(node)
            continue
        value.name = node.output[0]
        graph.initializer.append(value)
    del graph.node[:]
    graph.node.extend(others)
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        location=WEIGHTS,
        size_threshold=_LEAST_BYTES,
    )
    if (weights := path.with_name(WEIGHTS)).exists():  # onnx makes it for its owner alone
        weights.chmod(path.stat().st_mode)


def _difference(encoder: TextEncoder, directory: Path, after: After | None) -> float:
    """The largest difference between the graph, one text at a time, and the original."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    session = onnxruntime.InferenceSession(
        str(directory / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    told = json.loads((directory / "query.json").read_text())
    expected = encode_parts(encoder, _PROBES).pooled.numpy()
    if after:
        expected = after.reference(expected)
    differences = []
    for text, vector in zip(_PROBES, expected, strict=True):
        text = text.lower() if told["lower_case"] else text
        ids = tokenizer.encode(told["prompt"] + text).ids or [told["pad_id"]]
        feed = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, len(ids)), np.int64),
        }
        differences.append(np.abs(session.run(None, feed)[0][0] - vector).max())
    return float(np.max(differences))  # NaN where anything is, unlike Python's `max`
