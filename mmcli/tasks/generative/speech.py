"""What most dialects do alike: call the network, let it write, cut the answer out.

Knows no family.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.engine.torch_stack import load_transformers
from mmcli.tasks.generative.tokens import Picture, Writing

_OF_TEXT = frozenset(
    ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "labels")
)


def network_logits(network: Any, inputs: Mapping[str, Any]) -> Any:
    """The network's own logits; nothing is kept for a next token."""
    return network(**inputs, use_cache=False).logits


def writer(
    stops: Sequence[int], pad: int, limit: int | None, start: int | None = None
) -> Callable[[Any, Mapping[str, Any], Writing], list[list[int]]]:
    """The `write` of a dialect by `network.generate`.

    limit: tokens of the whole sequence at most (start: of the answer). start: the token that a
    decoder begins with; without one the answer follows the prompt.
    """

    def write(network: Any, inputs: Mapping[str, Any], writing: Writing) -> list[list[int]]:
        width = 1 if start is not None else inputs["input_ids"].shape[1]
        found = network.generate(
            **inputs, generation_config=settings(stops, pad, limit, width, writing, start)
        )
        if start is None:
            return [cut(row, stops, pad) for row in behind(found, inputs["input_ids"])]
        return [cut(row[1:] if row[:1] == [start] else row, stops, pad) for row in found.tolist()]

    return write


def settings(
    stops: Sequence[int],
    pad: int,
    limit: int | None,
    width: int,
    writing: Writing,
    start: int | None = None,
) -> Any:
    """How `generate` is told of it: the likeliest tokens, never drawn ones."""
    most = writing.max_new_tokens if limit is None else min(writing.max_new_tokens, limit - width)
    return load_transformers().GenerationConfig(
        max_new_tokens=max(1, most),
        num_beams=writing.beams,
        do_sample=False,
        eos_token_id=list(stops),
        pad_token_id=pad,
        decoder_start_token_id=start,
    )


def behind(found: Any, prompt: Any) -> list[list[int]]:
    """What was written after the prompt; some networks give the prompt back, others do not."""
    width = prompt.shape[1]
    repeated = found.shape[1] >= width and bool((found[:, :width] == prompt).all())
    return (found[:, width:] if repeated else found).tolist()


def cut(ids: Sequence[int], stops: Sequence[int], pad: int) -> list[int]:
    """The tokens before the first one that ends an answer; padding left out."""
    end = next((at for at, token in enumerate(ids) if token in stops), len(ids))
    return [token for token in ids[:end] if token != pad]


def picture_of(processed: Mapping[str, Any], ids: Sequence[int]) -> Picture:
    """What a processor gave for one picture, without what is of the text."""
    return Picture(tuple(ids), {n: v for n, v in processed.items() if n not in _OF_TEXT})


def needed(value: Any, what: str, reference: str) -> Any:
    """The value. Raises BadInput where a model folder does not say it."""
    if value is None:
        raise BadInput(f"`{reference}` does not say {what}", "get the model again, or another one")
    return value


def text_limit(config: Any) -> int | None:
    """How many positions the words of a model have; None for any number."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)
