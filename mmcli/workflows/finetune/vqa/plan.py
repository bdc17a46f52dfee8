"""What a question answering will learn, settled and checked before any picture is opened."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.data.answers import Answers, Targets, Vocabulary, targets_of, unseen, vocabulary_of
from mmcli.tasks.vqa import VqaSettings, refuse_idle
from mmcli.tasks.vqa_tokens import Rows
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.vqa.data import VqaRows, read_rows
from mmcli.workflows.finetune.vqa.features import Wanted, choose_encoders, refuse_long


@dataclass(frozen=True)
class VqaPlan:
    """Rows, vocabulary and settings. parts: the rows of each split that can be learned from or
    judged. lines: what a reader must know.
    """

    rows: VqaRows
    answers: Answers
    vocabulary: Vocabulary
    targets: Targets
    settings: VqaSettings
    wanted: Wanted
    parts: dict[str, Rows]
    split_source: str
    lines: list[str]


def vqa_plan(config: FinetuneConfig) -> VqaPlan:
    """Read and check all that needs no picture.

    Raises UsageError for options that do not fit, BadInput, naming the row, for data that do not.
    """
    refuse_idle(
        config.tricks,
        {
            "--strategy": any(s not in ("probe", "frozen") for s in config.strategy.values()),
            "--from": bool(config.pretrained),
            "--curve": bool(config.curve),
            "--label-kind": config.label_kind != "auto",
            "--classes": bool(config.classes),
            "--metric": config.metric != "auto",
            "--tabular": bool(config.options.get("tabular")),
            "--only": bool(config.only),
        },
    )
    settings = VqaSettings.of(config.method, config.options, config.tricks, config.quality)
    encoders, layers = choose_encoders(config.preset, config.encoders, settings.layers)
    wanted = Wanted(
        encoders=encoders,
        layers=layers,
        patches=settings.patches,
        workers=config.workers,
        on_error=config.on_error,
        device=config.device,
        precision=config.precision,
        seed=config.seed,
    )
    rows = read_rows(
        config.data,
        config.label,
        root=config.root,
        mapping=config.mapping,
        verify=config.verify,
        skip=config.on_error == "skip",
    )
    assert rows.answers is not None
    answers = rows.answers
    splits = rows.splits(config.splits)
    parts = {name: _rows(splits.rows(name), rows.usable) for name in ("train", "val", "test")}
    if not len(parts["train"]):
        raise BadInput(f"no train row of `{config.data}` can be learned from", splits.source)
    vocabulary = vocabulary_of(answers, parts["train"], settings.answers, settings.min_count)
    targets = targets_of(answers, vocabulary.answers)
    lines = _unseen(rows, answers, targets, parts, settings)
    missing = int((~answers.known[np.concatenate(list(parts.values()))]).sum())
    if missing:
        lines.append(f"{missing} rows have no answer in `{answers.column}`: left out")
    parts["train"] = parts["train"][targets.any[parts["train"]]]
    for name in ("val", "test"):
        parts[name] = parts[name][answers.known[parts[name]]]
    refuse_long(rows, wanted)
    return VqaPlan(
        rows, answers, vocabulary, targets, settings, wanted, parts, splits.source, lines
    )


def _rows(rows: Any, usable: Any) -> Rows:
    found: Rows = rows[usable[rows]].astype(np.int64)
    return found


def _unseen(
    rows: VqaRows,
    answers: Answers,
    targets: Targets,
    parts: Mapping[str, Rows],
    settings: VqaSettings,
) -> list[str]:
    """What is said of answers that the vocabulary has not; an error where that was asked for."""
    lines = []
    for name, of in parts.items():
        found = unseen(answers, targets, of)
        if not len(found):
            continue
        row = int(found[0])
        what = f"{rows.where(row)}: answer `{answers.best(row)}`"
        if name != "train" and settings.unseen == "error":
            raise BadInput(
                f"{what} of a {name} row occurs in no train row",
                "correct it, move the row into train, or leave `--set unseen=error` out",
            )
        why = "are too rare for the vocabulary" if name == "train" else "train does not have"
        lines.append(
            f"{len(found)} {name} rows have answers that {why}; the first: {what}"
            if name != "train"
            else f"{len(found)} train rows are left out, their answers {why}; the first: {what}"
        )
    return lines
