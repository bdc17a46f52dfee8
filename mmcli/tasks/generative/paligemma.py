"""PaliGemma: pictures, `<bos>`, a task prefix and a line break; then the answer and `<eos>`.

The prefix sees itself whole, the answer is written word by word: token types tell one from the
other. Source: Beyer et al. 2024, arXiv 2407.07726, section 3.2.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mmcli.tasks.generative.examples import Example
from mmcli.tasks.generative.loading import Base
from mmcli.tasks.generative.plain import one_question
from mmcli.tasks.generative.speech import (
    needed,
    network_logits,
    picture_of,
    text_limit,
    writer,
)
from mmcli.tasks.generative.tokens import SLOT, Dialect, Line, Picture


def speak(base: Base, prompt: str) -> Dialect:
    """The dialect of PaliGemma 1 and 2."""
    processor, tokenizer = base.processor, base.processor.tokenizer
    end = int(needed(tokenizer.eos_token_id, "what ends a text", base.reference))
    mark = int(needed(base.config.image_token_id, "the token of a picture", base.reference))
    pad = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end)
    stops = tuple(dict.fromkeys((*base.stops, end)))
    limit = text_limit(base.config)

    def line(example: Example, answered: bool) -> Line:
        words = one_question(example, base.reference, None, prompt)
        text = f"{tokenizer.bos_token}{words}\n"
        source = [*(SLOT,) * len(example.images), *_ids(tokenizer, text)]
        target = (*_ids(tokenizer, example.answer), end) if answered else ()
        return Line(tuple(source), target)

    def picture(image: Any) -> Picture:
        done = processor.image_processor(images=[image], return_tensors="pt")
        return picture_of(done, (mark,) * int(processor.image_seq_length))

    def kinds(ids: Sequence[int], n_source: int) -> Mapping[str, list[int]]:
        return {"token_type_ids": [int(at >= n_source) for at in range(len(ids))]}

    return Dialect(
        layout="joint",
        tokenizer=tokenizer,
        pad=pad,
        stops=stops,
        limits=(limit, None),
        line=line,
        picture=picture,
        logits=network_logits,
        write=writer(stops, pad, limit),
        kinds=kinds,
    )


def _ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found
