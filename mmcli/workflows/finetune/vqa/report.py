"""What a question answering comes to: the honest table, types of question, the surest errors."""

from typing import Any

import numpy as np

from mmcli.metrics.probabilities import bin_probabilities, calibration_error, reliability
from mmcli.tasks.vqa import majority
from mmcli.tasks.vqa_tokens import Rows
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.vqa.features import Features
from mmcli.workflows.finetune.vqa.fit import Contestant, Setting
from mmcli.workflows.finetune.vqa.judge import MEASURE, by_type, line_of, said, score_row, verdict
from mmcli.workflows.finetune.vqa.plan import VqaPlan

MAJORITY = "most frequent answer"
#: Errors and answers that the report shows.
SHOWN = 24


def vqa_report(
    config: FinetuneConfig,
    plan: VqaPlan,
    features: Features,
    setting: Setting,
    models: list[Contestant],
) -> dict[str, Any]:
    """Every model on the test rows (else val, else train), and what the first one gets wrong."""
    answers, vocabulary = plan.answers, plan.vocabulary.answers
    test = plan.parts["test"][features.asked.whole[plan.parts["test"]]]
    judged = {"test": test, "val": setting.val, "train": setting.train}
    which = next(name for name, rows in judged.items() if len(rows))
    rows = judged[which]
    groups = plan.rows.groups(config.splits.group_by, rows)
    types = [plan.rows.types[row] for row in rows.tolist()]
    shares = models[0].say(features.asked, rows)
    each = [said(models[0].name, _texts(shares, vocabulary), answers, rows)]
    for one in models[1:]:
        given = _texts(one.say(features.asked, rows), vocabulary)
        each.append(said(one.name, given, answers, rows))
    often = majority(answers, setting.train, rows, plan.rows.types)
    each.append(said(MAJORITY, often, answers, rows))
    verdicts = [verdict(each[0], other, groups, config.seed) for other in each[1:]]
    reached = plan.targets.dense(rows).max(axis=1) if len(rows) else np.zeros(0)
    table = [score_row(one, groups, config.seed) for one in each]
    report: dict[str, Any] = {
        "model": config.output,
        "data": config.data,
        "task": "vqa",
        "method": setting.settings.method,
        "label": answers.column,
        "measure": MEASURE,
        "vocabulary": len(vocabulary),
        "answers": _frequent(plan, rows),
        "unanswerable": int((reached == 0).sum()),
        "vocabulary_ceiling": float(reached.mean()),
        "scored_rows": which,
        "rows": {"train": len(setting.train), "val": len(setting.val), "test": len(test)},
        "pictures": int(features.asked.pictures.store.rows),
        "questions": int(features.asked.questions.store.rows),
        "splits": plan.split_source,
        "keys": {name: list(keys) for name, keys in features.keys.items()},
        "table": table,
        "by_type": by_type(each, types, groups, config.seed),
        "calibration": _calibration(shares, each[0].scores),
        "groups": config.splits.group_by or "image",
        "hidden": _hidden(plan, features, models[0], rows, groups, config.seed),
        "verdicts": verdicts,
        "errors": _errors(plan, rows, shares, each[0].scores),
        "cautions": _cautions(plan, setting, models, which),
        "lines": [line_of(found) for found in verdicts],
        "chosen": {
            **setting.settings.told(),
            "layers": list(plan.wanted.layers),
            "epochs": setting.settings.schedule(len(setting.train), config.tricks.epochs),
            "lr": config.tricks.head_lr,
        },
        "best_epoch": models[0].done.best_epoch,
        "kept_seed": models[0].seed,
        "val_by_seed": list(models[0].val),
        "out_of_time": any(one.done.out_of_time for one in models),
        "parameters": sum(p.numel() for p in models[0].network.parameters()),
        "extraction_seconds": features.seconds,
        "device": setting.placement.device,
        "precision": setting.placement.precision,
        "command": config.command,
    }
    report["tables"] = {
        f"{which} rows": table,
        "by type of question": report["by_type"],
    }
    return report


def _calibration(shares: Any, scores: Any) -> dict[str, Any]:
    """How sure the model is of what it says, and what that scores, in bins of sureness."""
    binned = bin_probabilities(shares.max(axis=1).astype(np.float64), scores)
    seen = reliability(binned)
    return {
        "ece": calibration_error(binned),
        "rows": seen.rows.tolist(),
        "stated": seen.stated.tolist(),
        "observed": seen.observed.tolist(),
    }


def _texts(shares: Any, vocabulary: tuple[str, ...]) -> list[str]:
    return [vocabulary[place_] for place_ in shares.argmax(axis=1).tolist()]


def _hidden(
    plan: VqaPlan, features: Features, model: Contestant, rows: Rows, groups: Any, seed: int
) -> list[dict[str, Any]]:
    found = []
    for modality, name in (("image", "no picture"), ("text", "no question")):
        shares = model.say(features.asked, rows, hidden=modality)
        given = said(name, _texts(shares, plan.vocabulary.answers), plan.answers, rows)
        found.append(score_row(given, groups, seed))
    return found


def _frequent(plan: VqaPlan, rows: Rows) -> list[dict[str, Any]]:
    """The most frequent answers of train, and how often each is right in the rows judged."""
    totals = plan.targets.dense(rows).sum(axis=0)
    pairs = zip(plan.vocabulary.answers, plan.vocabulary.totals, totals, strict=True)
    return [
        {"answer": text, "train": round(train, 1), "judged": round(float(judged), 1)}
        for text, train, judged in list(pairs)[:SHOWN]
    ]


def _errors(plan: VqaPlan, rows: Rows, shares: Any, scores: Any) -> list[dict[str, Any]]:
    """The rows that score nothing, those most sure of themselves first."""
    sure = shares.max(axis=1)
    wrong = np.flatnonzero(scores == 0)
    found = []
    for place_ in wrong[np.argsort(-sure[wrong], kind="stable")][:SHOWN].tolist():
        row = int(rows[place_])
        found.append(
            {
                "id": plan.rows.ids[row],
                "image": plan.rows.images[row],
                "question": plan.rows.questions[row] or "",
                "said": plan.vocabulary.answers[int(shares[place_].argmax())],
                "confidence": float(sure[place_]),
                "answers": list(plan.answers.scores[row]),
            }
        )
    return found


def _cautions(plan: VqaPlan, setting: Setting, models: list[Contestant], which: str) -> list[str]:
    lines = list(plan.lines)
    if which != "test":
        lines.append(
            f"no row is `test`: the scores are of the {which} rows, by which the models were"
            " chosen or learned"
        )
    if not len(setting.val):
        lines.append("there are no val rows: the last epoch is kept")
    if any(one.done.out_of_time for one in models):
        epochs = len(models[0].done.history)
        lines.append(f"the time limit ended training, of the model at epoch {epochs}")
    return lines
