"""Families without a chat template: one prompt, one answer. Knows no family."""

from mmcli.core.errors import BadInput
from mmcli.data.messages import IMAGE
from mmcli.tasks.generative.examples import Example
from mmcli.tasks.generative.registry import QUESTION


def one_question(example: Example, reference: str, images: int | None, prompt: str) -> str:
    """The words of a prompt, without the marks of pictures.

    images: how many a row has, None for one or more. Own words of the user are the question of a
    prompt that has a place for one; a prompt without a place stands for itself. Raises BadInput
    for a row that talks more than once.
    """
    if len(example.turns) > 1:
        raise BadInput(
            f"{example.where}: {len(example.turns)} turns before the answer, `{reference}` has no"
            " chat template and takes one question",
            "drop the earlier turns and the system's, or take a model that chats",
        )
    if not example.images or (images is not None and len(example.images) != images):
        least = "one or more" if images is None else str(images)
        raise BadInput(
            f"{example.where}: {len(example.images)} images, `{reference}` takes {least}",
            "drop the row, or take a model that chats",
        )
    words = " ".join(example.turns[-1].text.replace(IMAGE, " ").split())
    return prompt.replace(QUESTION, words)
