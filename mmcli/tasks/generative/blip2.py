"""BLIP-2: the Q-Former's tokens, then the prompt; an OPT goes on writing, a T5 answers.

Source: Li et al. 2023, arXiv 2301.12597, section 3.3 and figure 3.
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
    """The dialect of BLIP-2, by the kind of its language model."""
    config, processor = base.config, base.processor
    tokenizer = processor.tokenizer
    joint = bool(config.use_decoder_only_language_model)
    end = int(needed(tokenizer.eos_token_id, "what ends a text", base.reference))
    mark = int(needed(config.image_token_id, "the token of a picture", base.reference))
    pad = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end)
    start = None
    if not joint:
        text_config = config.get_text_config()
        start = int(needed(text_config.decoder_start_token_id, "how answers begin", base.reference))
    limit = text_limit(config) if joint else None  # a T5 counts distances, not positions

    def line(example: Example, answered: bool) -> Line:
        words = one_question(example, base.reference, 1, prompt)
        source = (SLOT, *tokenizer(words)["input_ids"])
        text = f" {example.answer}" if joint else example.answer
        answer = tokenizer(text, add_special_tokens=False)["input_ids"]
        return Line(source, (*answer, end) if answered else ())

    def picture(image: Any) -> Picture:
        done = processor.image_processor(images=[image], return_tensors="pt")
        return picture_of(done, (mark,) * int(config.num_query_tokens))

    return Dialect(
        layout="joint" if joint else "split",
        tokenizer=tokenizer,
        pad=pad,
        stops=(end,),
        limits=(limit, None),
        line=line,
        picture=picture,
        logits=network_logits,
        write=writer((end,), pad, limit, start),
        start=start or 0,
    )
