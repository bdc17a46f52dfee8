"""Where the tokens of a text of any length lie, by the tokenizer of a text encoder."""

from typing import Any

from mmcli.core.errors import UsageError
from mmcli.core.types import Encoder

#: Characters tokenised at once, cut at a blank: a book costs the memory of a chapter.
_CHARACTERS = 50_000


class TokenOffsets:
    """Gives first and last character (excluded) of every token of a text.

    limit: tokens of a text that the encoder reads beside its marks and its prompt.
    """

    def __init__(self, encoder: Encoder) -> None:
        tokenizer: Any = getattr(encoder, "tokenizer", None)
        core = getattr(tokenizer, "core", None)
        if core is None:
            raise UsageError(
                f"`{encoder.card.name}` does not say where its tokens are",
                "cut texts by another text encoder",
            )
        marks = len(core.encode(str(tokenizer.prompt)).ids)
        self.limit = max(1, int(tokenizer.max_length) - marks)
        self._lower_case = bool(tokenizer.lower_case)
        self._core = type(core).from_str(core.to_str())
        self._core.no_truncation()
        self._core.no_padding()

    def __call__(self, text: str) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        lowered = text.lower() if self._lower_case else text
        if len(lowered) == len(text):
            text = lowered
        start = 0
        while start < len(text):
            end = _cut(text, start)
            encoded = self._core.encode(text[start:end], add_special_tokens=False)
            found += [(start + first, start + last) for first, last in encoded.offsets]
            start = end
        return found


def _cut(text: str, start: int) -> int:
    """The end of a piece: behind the last blank in reach, else as far as that goes."""
    end = start + _CHARACTERS
    if end >= len(text):
        return len(text)
    blank = max(text.rfind(mark, start + 1, end) for mark in " \n\t")
    return blank if blank > start else end
