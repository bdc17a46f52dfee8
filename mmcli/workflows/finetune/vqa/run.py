"""`finetune --task vqa` with a closed vocabulary: checks, tokens once, three models, one table.

Beside the model stand what the question alone and the picture alone can say, trained under the same
budget, and the most frequent answer of each type of question. Prints nothing.
"""

import hashlib
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.store.artifact import ArtifactWriter, check_artifact_output
from mmcli.tasks.vqa import build
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.features import FEATURES
from mmcli.workflows.finetune.opened import MODEL_KIND
from mmcli.workflows.finetune.plan import told
from mmcli.workflows.finetune.vqa.features import Features, open_tokens, place_network
from mmcli.workflows.finetune.vqa.files import write_vqa_model
from mmcli.workflows.finetune.vqa.fit import Setting, contest
from mmcli.workflows.finetune.vqa.plan import VqaPlan, vqa_plan
from mmcli.workflows.finetune.vqa.report import SHOWN, vqa_report
from mmcli.workflows.listeners import Listeners

#: Rows and pictures that a dry run looks at.
_DRY_ROWS = 8


def run(config: FinetuneConfig, listeners: Listeners | None = None) -> dict[str, Any]:
    """Train, judge, write a model, report.

    Raises BadInput, naming the row, or UsageError, before anything is written.
    """
    began = time.monotonic()
    listeners = listeners or Listeners()
    check_artifact_output(Path(config.output), MODEL_KIND, config.force, config.resume)
    plan = vqa_plan(config)
    for line in [*plan.rows.lines, *plan.lines]:
        listeners.message(line)
    if config.dry_run:
        return _dry_run(config, plan)
    mark = hashlib.sha256(plan.rows.fingerprint.encode()).hexdigest()
    with ArtifactWriter(
        config.output, MODEL_KIND, told(config), mark, force=config.force, resume=config.resume
    ) as writer:
        features = open_tokens(plan.rows, plan.wanted, writer.checkpoint / FEATURES, listeners)
        for line in features.lines:
            listeners.message(line)
        setting = _setting(config, plan, features)
        left = None
        if config.time_limit_s is not None:
            left = max(1.0, 0.9 * config.time_limit_s - (time.monotonic() - began))
        models = contest(
            setting,
            writer.checkpoint / "models",
            writer.resumed,
            left,
            listeners.progress,
            listeners.message,
        )
        report = vqa_report(config, plan, features, setting, models)
        for line in report["cautions"]:
            listeners.message(f"warning: {line}")
        report["seconds"] = round(time.monotonic() - began, 2)
        write_vqa_model(
            writer,
            models[0],
            {one.name: one.done.history for one in models[1:]},
            setting,
            plan.vocabulary.answers,
            plan.wanted.encoders,
            plan.wanted.layers,
            features.keys,
            {"path": config.data, "fingerprint": plan.rows.fingerprint},
            report,
        )
    return report


def _setting(config: FinetuneConfig, plan: VqaPlan, features: Features) -> Setting:
    """The rows that have their tokens, and where the models run."""
    whole = features.asked.whole
    train, val = (plan.parts[name][whole[plan.parts[name]]] for name in ("train", "val"))
    if not len(train):
        raise BadInput(f"no train row of `{config.data}` has picture and question", "extract both")
    placement = place_network(config.device, config.precision)
    return Setting(features.asked, plan.targets, train, val, plan.settings, placement, config)


def _dry_run(config: FinetuneConfig, plan: VqaPlan) -> dict[str, Any]:
    """What would be trained, its parameters, and the first rows; encodes a few of them."""
    few = plan.parts["train"][:_DRY_ROWS]
    usable = np.zeros_like(plan.rows.usable)
    usable[few] = True
    with tempfile.TemporaryDirectory(prefix="mmcli-") as folder:
        rows = plan.rows if plan.rows.store else replace(plan.rows, usable=usable)
        began = time.monotonic()
        features = open_tokens(rows, plan.wanted, Path(folder), Listeners())
        seconds = time.monotonic() - began
        network = build(plan.settings, features.asked, few, plan.targets.size)
        patches, _ = features.asked.pictures.batch(features.asked.picture_of[few])
        words, _ = features.asked.questions.batch(features.asked.question_of[few])
    return {
        "dry_run": True,
        "output": config.output,
        "method": plan.settings.method,
        "rows": {name: len(of) for name, of in plan.parts.items()},
        "splits": plan.split_source,
        "vocabulary": len(plan.vocabulary.answers),
        "answers": list(plan.vocabulary.answers[:SHOWN]),
        "encoders": {name: list(of) for name, of in plan.wanted.encoders.items()},
        "layers": list(plan.wanted.layers),
        "trainable": sum(p.numel() for p in network.parameters()),
        "epochs": plan.settings.schedule(len(plan.parts["train"]), config.tricks.epochs),
        "batch": plan.settings.batch,
        "first_rows_s": round(seconds, 2),
        "first_rows": [
            {
                "id": plan.rows.ids[row],
                "question": plan.rows.questions[row],
                "image": plan.rows.images[row],
                "answer": plan.answers.best(row),
            }
            for row in few.tolist()
        ],
        "tokens": {"image": list(patches.shape), "text": list(words.shape)},
        "warnings": [*plan.rows.lines, *plan.lines],
    }
