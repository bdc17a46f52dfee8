"""Classes as vectors: the words of each class in every prompt, encoded, averaged.

Knows how the store's text encoder is found and how an aligner's text tower is fed; nothing about
pictures or scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.data.scripts import uncovered_script
from mmcli.engine.encode import encode_parts
from mmcli.store.reader import Store
from mmcli.workflows.evaluate.rows import read_lines
from mmcli.workflows.queries.plans import QueryPlan, load_query_encoder, plan_bound, plan_queries

if TYPE_CHECKING:
    from mmcli.align.aligner import Aligner

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class ClassVectors:
    """vectors: `(classes, dim)` of length 1. encoders: what read the words; warnings about it."""

    vectors: Vectors
    encoders: list[str]
    warnings: list[str]


def read_classes(path: str | None, names: Sequence[str], found: Sequence[str]) -> dict[str, str]:
    """What each class is called in a prompt, by its label, in order.

    path: a file of one label a line, or label, tab, words. names: labels from the command line.
    found: labels of the data, taken when neither is given. Raises UsageError for both, or a label
    twice; BadInput for fewer than two classes.
    """
    if path is not None and names:
        raise UsageError("`--classes` and `--class-names` exclude each other", "give one of them")
    classes: dict[str, str] = {}
    for line in read_lines(path, "--classes") if path is not None else names or found:
        label, _, words = line.partition("\t") if path is not None else (line, "", "")
        if label.strip() in classes:
            raise UsageError(f"class `{label.strip()}` is named twice", "name each class once")
        classes[label.strip()] = words.strip() or label.strip()
    if len(classes) < 2:
        raise BadInput(
            f"{len(classes)} classes: nothing to choose between",
            "use a label column with two values or more, or `--classes FILE`",
        )
    return classes


def check_prompts(prompts: Sequence[str]) -> None:
    """Raise UsageError for a prompt that has no place for the class."""
    for prompt in prompts:
        if "{}" not in prompt:
            raise UsageError(
                f'`--prompt "{prompt}"` has no {{}} where the class goes',
                'as in --prompt "a picture of {}"',
            )


def class_vectors(
    store: Store,
    key: str,
    aligner: "Aligner | None",
    words: Sequence[str],
    prompts: Sequence[str],
    device: str,
    precision: str,
) -> ClassVectors:
    """One unit vector a class, in the space of `key` (or of the aligner).

    Each prompt's vector is brought to unit length, a class's are averaged over the prompts, and
    the mean is brought to unit length again (Radford et al. 2021, arXiv 2103.00020, section 3.1.4).
    Raises SpaceMismatch when no text encoder of the space is known.
    """
    texts = [prompt.replace("{}", word) for word in words for prompt in prompts]
    warnings: list[str] = []
    encoders: list[str] = []

    def encoded(plan: QueryPlan) -> Vectors:
        encoder = load_query_encoder(plan, device, precision)
        encoders.append(plan.encoder)
        covered = encoder.card.scripts
        odd = [word for word in words if covered and uncovered_script(word, covered)]
        if odd:
            warnings.append(
                f"{len(odd)} of {len(words)} classes, as `{odd[0]}`, are in a script that"
                f" `{plan.encoder}` does not cover: they are near chance"
            )
        return np.asarray(encode_parts(encoder, texts, layer=plan.layer).pooled.numpy(), np.float32)

    if aligner is None:
        found = encoded(_plan(store, store.keys, key))
    else:
        if "text" not in aligner.modalities:
            raise SpaceMismatch(
                f"`{aligner.path}` does not map text", "classes are words: train it with text"
            )
        inputs = {}
        for text_key in aligner.keys("text"):
            bound = aligner.config["keys"][text_key]  # how what it was trained on was made
            plan = plan_bound(text_key, bound, store.manifest.get("options") or {})
            inputs[text_key] = encoded(_known(plan, f"`{aligner.path}`", text_key, bound))
        found = aligner.apply("text", inputs)
    whole = _unit(found).reshape(len(words), len(prompts), -1)
    return ClassVectors(_unit(whole.mean(axis=1)), list(dict.fromkeys(encoders)), warnings)


def _plan(store: Store, entries: Any, key: str) -> QueryPlan:
    options = store.manifest.get("options") or {}
    plan = plan_queries(entries, [key], options).get("text")
    return _known(plan, f"`{store.path}`", key, entries[key])


def _known(plan: QueryPlan | None, where: str, key: str, entry: Any) -> QueryPlan:
    if plan is None:
        raise SpaceMismatch(
            f"{where}: key `{key}` is in space `{entry.get('space') or 'unknown'}`,"
            " for which no text encoder is known",
            "choose another `--key`, or bring it to text with `--aligner`",
        )
    return plan


def _unit(vectors: Any) -> Any:
    length = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return (vectors / np.maximum(length, 1e-12)).astype(np.float32)
