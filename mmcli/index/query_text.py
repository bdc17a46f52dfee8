"""Turns words into query vectors on ONNX Runtime and tokenizers alone, without torch.

Reads what the index carries in `query/text/`: `model.onnx` with its weights (ids and mask in; the
pooled and, where the encoder does so, normalised vector out), `tokenizer.json` and `query.json`.
Knows nothing about FAISS or items.
"""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, MissingResource

#: Texts in one run of the graph; they are sorted by length first.
BATCH = 32
#: From this many queries on, preparing the weights for faster products pays for itself.
MANY = 64


@dataclass(frozen=True)
class TextQuerySettings:
    """What `query.json` says."""

    dim: int
    space: str
    max_length: int
    prompt: str = ""
    lower_case: bool = False
    pad_id: int = 0
    scripts: tuple[str, ...] = ()


@dataclass
class TextTower:
    """A loaded text tower."""

    settings: TextQuerySettings
    session: Any
    tokenizer: Any
    truncated: int = field(default=0)
    """Texts cut to `max_length` so far."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors `(texts, dim)` in the order given."""
        vectors = np.zeros((len(texts), self.settings.dim), dtype=np.float32)
        if not texts:
            return vectors
        lower = self.settings.lower_case
        given = [self.settings.prompt + (text.lower() if lower else text) for text in texts]
        encoded = self.tokenizer.encode_batch(given)
        self.truncated += sum(bool(one.overflowing) for one in encoded)
        order = sorted(range(len(texts)), key=lambda i: len(encoded[i].ids))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            vectors[rows] = self._run([encoded[i].ids or [self.settings.pad_id] for i in rows])
        return vectors

    def _run(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        length = max(1, max(len(ids) for ids in rows))
        ids = np.full((len(rows), length), self.settings.pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), length), dtype=np.int64)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        known = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids),
        }
        names = [i.name for i in self.session.get_inputs()]
        (vectors,) = self.session.run(None, {name: known[name] for name in names})[:1]
        return np.asarray(vectors, dtype=np.float32)


def read_settings(folder: Path) -> TextQuerySettings:
    """The settings of an exported tower. Raises BadInput when it cannot be read."""
    path = folder / "query.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return TextQuerySettings(
            dim=int(found["dim"]),
            space=str(found["space"]),
            max_length=int(found["max_length"]),
            prompt=str(found.get("prompt") or ""),
            lower_case=bool(found.get("lower_case", False)),
            pad_id=int(found.get("pad_id") or 0),
            scripts=tuple(found.get("scripts") or ()),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"`{path}` cannot be read", "build the index again") from error


def load_text_tower(folder: Path, n_queries: int = 1) -> TextTower:
    """The text tower in `folder`. Raises BadInput for a broken one."""
    try:
        import onnxruntime
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise MissingResource(
            f"package `{error.name}` is not installed", f"pip install {error.name}"
        ) from error
    settings = read_settings(folder)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if n_queries < MANY:
        # weights stay where they are mapped: 0.04 s to open MiniLM, and 3 ms more for a query
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # both libraries raise classes of their own, some of them bare
        what = " ".join(str(error).split())[:200]
        raise BadInput(f"`{folder}`: {what}", "build the index again") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(settings.max_length)
    return TextTower(settings, session, tokenizer)


class TowerLoader:
    """Loads the tower in a thread, so that opening the graph overlaps with other imports."""

    def __init__(self, folder: Path, n_queries: int = 1) -> None:
        self._tower: TextTower | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._load, args=(folder, n_queries), daemon=True)
        self._thread.start()

    def _load(self, folder: Path, n_queries: int) -> None:
        try:
            self._tower = load_text_tower(folder, n_queries)
        except BaseException as error:
            self._error = error

    def join(self) -> None:
        """Wait until loading has ended, well or not."""
        self._thread.join()

    def result(self) -> TextTower:
        """The tower, when it is there; raises what loading raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._tower is not None
        return self._tower
