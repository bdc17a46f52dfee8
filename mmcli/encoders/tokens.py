"""Texts to token batches: shared by every text tower. Knows no model.

Uses the tokenizer's own Rust core, which tells content from special tokens and what was cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.core.types import Prepared
from mmcli.encoders.steady import LEAST_TOKENS
from mmcli.encoders.weights import from_pretrained
from mmcli.engine.torch_stack import load_torch, load_transformers

#: Characters a token of ordinary text takes at most; longer texts are cut before tokenising, so
#: that a book given as one text does not cost a book's tokens.
_CHARS_PER_TOKEN = 64


@dataclass(frozen=True)
class Tokens:
    """One text: token ids `(length,)` and which of them stand for its words."""

    ids: np.ndarray
    content: np.ndarray


@dataclass(frozen=True)
class TokenBatch:
    """Padded ids and mask `(at least rows, length)` on the device, and each real row's content."""

    ids: Any
    mask: Any
    content: list[np.ndarray]

    @property
    def rows(self) -> int:
        """How many rows are real."""
        return len(self.content)


class Tokenizer:
    """A folder's tokenizer with a length limit and a prompt."""

    def __init__(
        self,
        folder: Path,
        max_length: int,
        prompt: str = "",
        device: str = "cpu",
        trust_remote_code: bool = False,
        lower_case: bool = False,
        fixed: int = 0,
        fast: bool = False,
    ) -> None:
        """fixed: every text is padded to so many tokens. fast: take tokenizer.json, whatever class
        the folder names."""
        transformers = load_transformers()
        kind = transformers.PreTrainedTokenizerFast if fast else transformers.AutoTokenizer
        wrapped = from_pretrained(kind.from_pretrained, folder, trust_remote_code=trust_remote_code)
        core = getattr(wrapped, "backend_tokenizer", None)
        if core is None:
            raise BadInput(f"`{folder}` has no tokenizer.json", "save it as a fast tokenizer")
        core.no_padding()
        core.enable_truncation(max_length)
        self.core = core
        self.folder = folder
        self.max_length = max_length
        self.prompt = prompt
        self.device = device
        self.lower_case = lower_case
        self.fixed = fixed
        pad = wrapped.pad_token_id if wrapped.pad_token_id is not None else wrapped.eos_token_id
        self.pad_id = int(pad or 0)

    def prepare(self, texts: Sequence[str]) -> list[Prepared]:
        """Tokenise; a row whose text did not fit says so."""
        limit = self.max_length * _CHARS_PER_TOKEN
        given = [self.prompt + (text.lower() if self.lower_case else text) for text in texts]
        encoded = self.core.encode_batch_fast([text[:limit] for text in given])
        return [
            Prepared(
                Tokens(
                    np.asarray(one.ids, np.int32),
                    ~np.asarray(one.special_tokens_mask, bool),
                ),
                length=self.fixed or max(1, len(one.ids)),
                truncated=bool(one.overflowing) or bool(text[limit:].strip()),
            )
            for one, text in zip(encoded, given, strict=True)
        ]

    def collate(self, rows: Sequence[Prepared], length: int) -> TokenBatch:
        """Ids and mask, padded on the right to `length`, never beyond what the model takes.

        A batch of few tokens gets rows of padding, so that its size does not change the bits.
        """
        torch = load_torch()
        length = self.fixed or max(1, min(length, self.max_length))
        n_rows = max(len(rows), -(-LEAST_TOKENS // length))
        ids = np.full((n_rows, length), self.pad_id, np.int64)
        mask = np.zeros((n_rows, length), np.int64)
        mask[len(rows) :] = 1
        for row, prepared in enumerate(rows):
            tokens = prepared.data
            ids[row, : len(tokens.ids)] = tokens.ids
            mask[row, : len(tokens.ids)] = 1
        return TokenBatch(
            torch.from_numpy(ids).to(self.device),
            torch.from_numpy(mask).to(self.device),
            [prepared.data.content for prepared in rows],
        )
