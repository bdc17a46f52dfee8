"""BLIP: the words look at the picture by cross-attention, so that it takes none of their places.

Two heads: `BlipForQuestionAnswering` reads the question in an encoder and answers in a decoder;
`BlipForConditionalGeneration` goes on from a prompt. transformers' own losses smooth the labels, so
logits and answers are put together from the parts here. Neither head pads: captions count positions
from the row's first token, and transformers 5.24 drops the mask of what a decoder looks at.
Source: Li et al. 2022, arXiv 2201.12086, sections 3.1, 5.2 and 5.3.
"""

from collections.abc import Mapping
from typing import Any

from mmcli.tasks.generative.examples import Example
from mmcli.tasks.generative.loading import Base
from mmcli.tasks.generative.plain import one_question
from mmcli.tasks.generative.speech import behind, cut, needed, picture_of, settings, text_limit
from mmcli.tasks.generative.tokens import SLOT, Dialect, Line, Picture, Writing


def speak(base: Base, prompt: str) -> Dialect:
    """The dialect of one of BLIP's two heads."""
    asks = base.class_name == "BlipForQuestionAnswering"
    processor, tokenizer = base.processor, base.processor.tokenizer
    text_config = base.config.get_text_config()
    begin = int(needed(text_config.bos_token_id, "how answers begin", base.reference))
    end = int(needed(text_config.sep_token_id, "what ends an answer", base.reference))
    pad, limit = int(tokenizer.pad_token_id), text_limit(base.config)

    def line(example: Example, answered: bool) -> Line:
        words = one_question(example, base.reference, 1, prompt)
        ids = tokenizer(words)["input_ids"]
        if not asks:  # goes on writing: another first token, and no end
            ids = [begin, *tokenizer(words, add_special_tokens=False)["input_ids"]]
        answer = tokenizer(example.answer, add_special_tokens=False)["input_ids"]
        return Line((SLOT, *ids), (*answer, end) if answered else ())

    def picture(image: Any) -> Picture:
        return picture_of(processor.image_processor(images=[image], return_tensors="pt"), ())

    def write(network: Any, inputs: Mapping[str, Any], writing: Writing) -> list[list[int]]:
        told = settings((end,), pad, limit, inputs["input_ids"].shape[1], writing)
        if not asks:
            found = network.text_decoder.generate(
                inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                encoder_hidden_states=_seen(network, inputs),
                generation_config=told,
            )
            return [cut(row, (end,), pad) for row in behind(found, inputs["input_ids"])]
        told = settings((end,), pad, limit, 1, writing)
        first = inputs["input_ids"].new_full((len(inputs["input_ids"]), 1), begin)
        found = network.text_decoder.generate(
            first,
            encoder_hidden_states=_question(network, inputs),
            encoder_attention_mask=inputs["attention_mask"],
            generation_config=told,
        )
        return [cut(row, (end,), pad) for row in behind(found, first)]

    return Dialect(
        layout="split" if asks else "joint",
        tokenizer=tokenizer,
        pad=pad,
        stops=(end,),
        limits=(limit, limit if asks else None),
        line=line,
        picture=picture,
        logits=_answer_logits if asks else _caption_logits,
        write=write,
        pads=False,
        start=begin,
    )


def _seen(network: Any, inputs: Mapping[str, Any]) -> Any:
    """Patches `(rows, patches, dim)`."""
    return network.vision_model(pixel_values=inputs["pixel_values"]).last_hidden_state


def _question(network: Any, inputs: Mapping[str, Any]) -> Any:
    """The question as the picture changed it, `(rows, length, dim)`."""
    return network.text_encoder(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        encoder_hidden_states=_seen(network, inputs),
    ).last_hidden_state


def _answer_logits(network: Any, inputs: Mapping[str, Any]) -> Any:
    return network.text_decoder(
        input_ids=inputs["decoder_input_ids"],
        attention_mask=inputs["decoder_attention_mask"],
        encoder_hidden_states=_question(network, inputs),
        encoder_attention_mask=inputs["attention_mask"],
        use_cache=False,
    ).logits


def _caption_logits(network: Any, inputs: Mapping[str, Any]) -> Any:
    return network.text_decoder(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        encoder_hidden_states=_seen(network, inputs),
        use_cache=False,
    ).logits
