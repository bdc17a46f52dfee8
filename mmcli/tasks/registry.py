"""The tasks of `finetune`, as data: a task is one file and one entry here.

Listing them imports nothing heavy; `run` is reached when a task is run. Knows no command line.
"""

from dataclasses import dataclass, field

from mmcli.core.registry import Registry


@dataclass(frozen=True)
class TaskSpec:
    """One task.

    run: `module:function` of the workflow that trains it, called with (config, listeners).
    label: the column that is predicted where none is named. encoders: references by modality,
    where the task is better off with others than the preset's. method: the fusion where none is
    named. needs: parts without which a row says nothing, in words.
    """

    name: str
    run: str
    summary: str
    label: tuple[str, ...] = ()
    encoders: dict[str, tuple[str, ...]] = field(default_factory=dict)
    method: str = ""
    needs: str = ""
    paper: str = ""


_SUPERVISED = "mmcli.workflows.finetune.supervised:run"
#: Encoders whose features carry more than those of the shared space: what is seen, how it is said.
_RICH = {
    "text": ("minilm-l6",),
    "image": ("efficientnet-lite0",),
    "speech": ("whisper-tiny-en", "logmel"),
}

#: For pairs: the encoders of the shared space first, and what sees or hears more beside them.
_SHARED_AND_RICH = {
    "image": ("conse-efficientnet-lite0", "efficientnet-lite0"),
    "text": ("minilm-l6",),
    "speech": ("whisper-tiny-en-minilm", "whisper-tiny-en"),
}

TASKS: Registry[TaskSpec] = Registry(
    "task",
    (
        TaskSpec(
            "sentiment",
            _SUPERVISED,
            "text, voice and face to a score or a class",
            label=("sentiment", "label"),
            encoders=_RICH,
            method="hybrid:attention",
            needs="text, speech, image or video, and a number or a class",
            paper="Zadeh et al. 2016, arXiv 1606.06259; Yu et al. 2020, ACL 2020.acl-main.343",
        ),
        TaskSpec(
            "classification",
            _SUPERVISED,
            "any parts to a class, several classes, an order or a number",
            label=("label", "category", "class"),
            encoders=_RICH,
            method="early:concat",
            needs="any part, and a label",
        ),
        TaskSpec(
            "event",
            _SUPERVISED,
            "posts to informative, type and severity; recordings to timed events",
            label=("event_type", "informative", "label"),
            encoders=_RICH,
            method="hybrid:attention",
            needs="text or image, and a label; or a recording and its `events`",
            paper="Alam et al. 2018, arXiv 1805.00713; Mesaros et al. 2016, Applied Sciences 6(6)",
        ),
        TaskSpec(
            "vqa",
            "mmcli.workflows.finetune.vqa.run:run",
            "a picture and a question to an answer",
            label=("answer", "answers"),
            needs="image, a question as text, and `answer` or `answers`",
            paper="Antol et al. 2015, arXiv 1505.00468",
        ),
        TaskSpec(
            "retrieval",
            "mmcli.workflows.finetune.pairs.run:run",
            "two towers that meet in one space, by contrast",
            encoders=_SHARED_AND_RICH,
            needs="rows that have two parts",
            paper="Radford et al. 2021, arXiv 2103.00020",
        ),
        TaskSpec(
            "pretrain",
            "mmcli.workflows.finetune.pairs.run:run",
            "towers from pairs without labels, for every other task to start from",
            encoders=_SHARED_AND_RICH,
            needs="rows that have two parts",
            paper="Li et al. 2021, arXiv 2107.07651",
        ),
        TaskSpec(
            "caption",
            "mmcli.workflows.finetune.generative.run:run",
            "a picture to a sentence, by a generative vision-language model",
            label=("text", "caption"),
            needs="image and a caption as text, and `--model`",
        ),
    ),
)
