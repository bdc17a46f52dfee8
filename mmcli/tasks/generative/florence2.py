"""Florence-2: an encoder reads the picture and `<s>`, the prompt, `</s>`; BART's decoder answers.

Task words such as <CAPTION> are sentences to the model; its processor writes them out, the prompts
here already are. Source: Xiao et al. 2023, arXiv 2311.06242, section 3.
"""

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
    """The dialect of Florence-2 in transformers' own layout."""
    processor, tokenizer = base.processor, base.processor.tokenizer
    text_config = base.config.get_text_config()
    end = int(needed(tokenizer.eos_token_id, "what ends a text", base.reference))
    begin = int(needed(tokenizer.bos_token_id, "what begins a text", base.reference))
    first = int(needed(text_config.decoder_start_token_id, "how answers begin", base.reference))
    mark = int(needed(base.config.image_token_id, "the token of a picture", base.reference))
    pad, limit = int(tokenizer.pad_token_id), text_limit(base.config)

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def line(example: Example, answered: bool) -> Line:
        words = one_question(example, base.reference, 1, prompt)
        target = (begin, *ids(example.answer), end) if answered else ()
        return Line((SLOT, begin, *ids(words), end), target)

    def picture(image: Any) -> Picture:
        done = processor.image_processor(images=[image], return_tensors="pt")
        return picture_of(done, (mark,) * int(processor.num_image_tokens))

    return Dialect(
        layout="split",
        tokenizer=tokenizer,
        pad=pad,
        stops=(end,),
        limits=(limit, limit),
        line=line,
        picture=picture,
        logits=network_logits,
        write=_after_begin(writer((end,), pad, limit, first), begin),
        start=first,
    )


def _after_begin(write: Any, begin: int) -> Any:
    """Answers without the `<s>` that they begin with."""

    def answers(network: Any, inputs: Any, writing: Any) -> list[list[int]]:
        found = write(network, inputs, writing)
        return [row[1:] if row[:1] == [begin] else row for row in found]

    return answers
