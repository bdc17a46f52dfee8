"""Families with a chat template: Qwen-VL, SmolVLM, LLaVA. The template is the processor's own.

The tokens of an answer never reach into those of its prompt, so that what is learned continues what
is asked when an answer is written, token for token. An answer ends where the template ends a turn;
a template that ends none (LLaVA 1.5's) gets the tokenizer's end of text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.data.messages import IMAGE, Turn
from mmcli.tasks.generative.examples import Example, asked
from mmcli.tasks.generative.loading import Base
from mmcli.tasks.generative.speech import (
    needed,
    network_logits,
    picture_of,
    text_limit,
    writer,
)
from mmcli.tasks.generative.tokens import SLOT, Dialect, Line, Picture

#: Characters before an answer that its tokens may hang on.
_CONTEXT = 32


def speak(base: Base, prompt: str) -> Dialect:
    """The dialect of a chat model."""
    chat = _Chat(base, prompt)
    limit = text_limit(base.config)
    return Dialect(
        layout="joint",
        tokenizer=chat.tokenizer,
        pad=chat.pad,
        stops=chat.stops,
        limits=(limit, None),
        line=chat.line,
        picture=chat.picture,
        logits=network_logits,
        write=writer(chat.stops, chat.pad, limit),
        kinds=chat.kinds,
    )


class _Chat:
    """A processor and its template."""

    def __init__(self, base: Base, prompt: str) -> None:
        self.reference, self.prompt = base.reference, prompt
        self.processor = base.processor
        self.tokenizer = self.processor.tokenizer
        own = getattr(self.processor, "chat_template", None)
        self.template = own or getattr(self.tokenizer, "chat_template", None)
        if not self.template:
            raise BadInput(
                f"`{base.reference}` has no chat template",
                "its folder should hold chat_template.jinja: take the model that was tuned to chat",
            )
        self.mark: str = self.processor.image_token
        self.mark_id = int(self.tokenizer.convert_tokens_to_ids(self.mark))
        end = needed(self.tokenizer.eos_token_id, "what ends a text (no eos_token)", base.reference)
        self.pad = int(end if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id)
        self.told_kinds = "mm_token_type_ids" in self.processor.model_input_names
        self.stops = tuple(dict.fromkeys((*base.stops, int(end))))
        self.stops = tuple(dict.fromkeys((*self.stops, *self._end_of_turn())))

    def line(self, example: Example, answered: bool) -> Line:
        """Turn by turn: what the template writes before an answer, then the answer."""
        turns = list(asked(example.turns, example.written, self.prompt))
        if answered:
            turns.append(Turn("assistant", example.answer))
        source: list[int] = []
        learned: set[int] = set()
        target: tuple[int, ...] = ()
        said = ""
        for number, turn in enumerate(turns, 1):
            if turn.role != "assistant":
                continue
            before, after = self._around(turns[:number], said, example)
            source += self._slots(before, first=not said)
            last = number == len(turns)
            ids, rest = self._answer(before, after, turn.text, example, last)
            if last:
                target = tuple(ids)
            else:
                learned.update(range(len(source), len(source) + len(ids)))
                source += [*ids, *rest]
            said = self._render(turns[:number], asks=False)
        if not answered:
            before = self._render(turns, asks=True)
            self._check_continues(before, said, example)
            source += self._slots(before[len(said) :], first=not said)
        line = Line(tuple(source), target, frozenset(learned))
        if line.slots != len(example.images):
            raise BadInput(
                f"{example.where}: the chat template of `{self.reference}` writes {line.slots}"
                f" places for {len(example.images)} images",
                f"leave `{self.mark}` out of the words, and write `{IMAGE}` for a picture",
            )
        return line

    def picture(self, image: Any) -> Picture:
        """The processor on the mark of a picture alone: its tokens, and its tensors."""
        done = self.processor(
            text=[self.mark], images=[image], add_special_tokens=False, return_tensors="pt"
        )
        return picture_of(done, done["input_ids"][0].tolist())

    def kinds(self, ids: Sequence[int], n_source: int) -> Mapping[str, list[int]]:
        """Which tokens are a picture's, where the model asks for it."""
        if not self.told_kinds:
            return {}
        return {"mm_token_type_ids": [int(token == self.mark_id) for token in ids]}

    def _around(self, turns: list[Turn], said: str, example: Example) -> tuple[str, str]:
        """What the template adds before the last answer, and that answer to the end of its turn."""
        before = self._render(turns[:-1], asks=True)
        whole = self._render(turns, asks=False)
        self._check_continues(before, said, example)
        self._check_continues(whole, before, example)
        return before[len(said) :], whole[len(before) :]

    def _check_continues(self, whole: str, start: str, example: Example) -> None:
        if not whole.startswith(start):
            raise BadInput(
                f"{example.where}: the chat template of `{self.reference}` rewrites what stands"
                " before an answer",
                "drop earlier turns of the row, or take a model whose template goes on writing",
            )

    def _answer(
        self, before: str, text: str, answer: str, example: Example, last: bool
    ) -> tuple[list[int], list[int]]:
        """Tokens of an answer and its end, and those of what the template writes after it."""
        ids = self._ids_behind(before, text)
        end = next((at for at, token in enumerate(ids) if token in self.stops), None)
        if any(token in self.stops for token in self._ids(answer)):
            raise BadInput(
                f"{example.where}: the answer holds a token that ends an answer of"
                f" `{self.reference}`",
                "take it out of the text",
            )
        if end is not None:
            return ids[: end + 1], ids[end + 1 :]
        if last:
            whole = self._ids_behind(before, text.rstrip())
            return [*whole, int(self.tokenizer.eos_token_id)], []
        return ids, []

    def _ids_behind(self, before: str, text: str) -> list[int]:
        """Tokens of a text as they are behind another one.

        A tokenizer of words with their spaces (Llama's) reads a text that stands alone otherwise.
        Only where it would join the two are they taken apart.
        """
        start = before[-_CONTEXT:]
        ahead, whole = self._ids(start), self._ids(start + text)
        return whole[len(ahead) :] if whole[: len(ahead)] == ahead else self._ids(text)

    def _end_of_turn(self) -> list[int]:
        """The special token that the template writes right after an answer, if any."""
        question, answer = Turn("user", "a"), Turn("assistant", "b")
        before = self._render([question], asks=True)
        after = self._render([question, answer], asks=False).removeprefix(before)
        special = set(self.tokenizer.all_special_ids)
        special |= {int(i) for i, t in self.tokenizer.added_tokens_decoder.items() if t.special}
        return [token for token in self._ids(after.partition("b")[2]) if token in special][:1]

    def _render(self, turns: Sequence[Turn], *, asks: bool) -> str:
        told = [{"role": turn.role, "content": _pieces(turn.text)} for turn in turns]
        found: str = self.processor.apply_chat_template(
            told, chat_template=self.template, tokenize=False, add_generation_prompt=asks
        )
        return found

    def _slots(self, text: str, first: bool) -> list[int]:
        """Tokens of a text, SLOT for a picture. first: it begins the row."""
        start = self.tokenizer.bos_token
        ids = self._ids(text, special=first and not (start and text.startswith(start)))
        return [SLOT if token == self.mark_id else token for token in ids]

    def _ids(self, text: str, special: bool = False) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=special)["input_ids"]
        return found


def _pieces(text: str) -> list[dict[str, str]]:
    """A text as the pieces of a chat; a line break beside a picture is the template's to write."""
    found: list[dict[str, str]] = []
    parts = text.split(IMAGE)
    for number, part in enumerate(parts):
        if number:
            found.append({"type": "image"})
        words = part.strip("\n") if len(parts) > 1 else part
        if words:
            found.append({"type": "text", "text": words})
    return found
