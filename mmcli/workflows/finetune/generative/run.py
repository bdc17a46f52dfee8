"""`finetune` of a generative vision-language model: `vqa` with `--model`, and `caption`.

The data are checked against the model row by row before anything is learned; the model that is
judged is the one that is written. Beside it stand its base, untrained, and itself with the pictures
hidden. Prints nothing.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmcli.engine.training import Trained
from mmcli.store.artifact import ArtifactWriter, check_artifact_output
from mmcli.store.atomic import write_bytes
from mmcli.tasks.generative.answering import answers
from mmcli.tasks.generative.examples import Example
from mmcli.tasks.generative.scoring import MEASURES, Score, compare, judge
from mmcli.tasks.generative.tuned import TunedModel
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.generative.files import KIND, write_generative
from mmcli.workflows.finetune.generative.learn import (
    dry_run,
    learn,
    network_of,
    settled,
    tuned_of,
)
from mmcli.workflows.finetune.generative.plan import (
    LOSS,
    Setting,
    describe,
    refuse,
    shown,
    understand,
    with_baselines,
)
from mmcli.workflows.finetune.plan import told
from mmcli.workflows.listeners import Listeners

#: Answers that the report holds in full.
_SHOWN = 20


def run(config: FinetuneConfig, listeners: Listeners | None = None) -> dict[str, Any]:
    """Train, judge, write a model, report.

    Raises UsageError, MissingResource or BadInput, naming the row, before anything is learned.
    """
    began = time.monotonic()
    listeners = listeners or Listeners()
    refuse(config)
    check_artifact_output(Path(config.output), KIND, config.force, config.resume)
    setting = understand(config)
    listeners.message(describe(setting))
    if config.dry_run:
        return dry_run(setting)
    mark = f"{setting.data.fingerprint} {setting.base.sha256}"
    with ArtifactWriter(
        config.output,
        KIND,
        told(config),
        hashlib.sha256(mark.encode()).hexdigest(),
        force=config.force,
        resume=config.resume,
    ) as writer:
        writer.checkpoint.mkdir(parents=True, exist_ok=True)
        network = network_of(setting)
        table: list[dict[str, Any]] = []
        compared: dict[str, Score] = {}
        if with_baselines(config):
            said = _once(
                writer.checkpoint / "base.json", lambda: _answers(setting, network, listeners)
            )
            compared["base"] = judge(config.task, setting.rows[setting.judged], said, config.seed)
        if config.task == "vqa":
            compared["most frequent answer"] = _constant(setting)
        tuned = tuned_of(setting, network)
        method, done = learn(setting, tuned, writer, config.time_limit_s, listeners)
        report = _report(setting, tuned, done, method)
        network = settled(setting, tuned)
        said = _answers(setting, network, listeners)
        kept = judge(config.task, setting.rows[setting.judged], said, config.seed)
        if with_baselines(config):
            hidden = _answers(setting, network, listeners, without=("image",))
            compared["pictures hidden"] = judge(
                config.task, setting.rows[setting.judged], hidden, config.seed
            )
        table += [score.row(name) for name, score in sorted(compared.items())]
        table.append(kept.row("tuned"))
        report |= {
            "table": table,
            "kinds": kept.kinds,
            "verdicts": _verdicts(config.task, kept, compared, config.seed),
            "examples": _examples(setting.rows[setting.judged], said),
        }
        report["lines"] = _lines(report)
        report["seconds"] = round(time.monotonic() - began, 2)
        for line in report["cautions"]:
            listeners.message(f"warning: {line}")
        write_generative(writer, setting, tuned, report, done.history, said)
    return report


def _answers(
    setting: Setting, network: Any, listeners: Listeners, without: Sequence[str] = ()
) -> list[str]:
    return answers(
        network,
        setting.dialect,
        setting.rows[setting.judged],
        setting.writing,
        batch=setting.batch,
        without=without,
        device=setting.placement.device,
        progress=listeners.progress,
    )


def _once(path: Path, make: Callable[[], list[str]]) -> list[str]:
    """What an earlier part of this run has made already, else made now and kept."""
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(found, list)
        return [str(text) for text in found]
    made = make()
    write_bytes(path, json.dumps(made, ensure_ascii=False).encode())
    return made


def _constant(setting: Setting) -> Score:
    """The answer that is right for the most train rows, given to every row."""
    counts: dict[str, int] = {}
    for example in setting.rows["train"]:
        counts[example.answer] = counts.get(example.answer, 0) + 1
    best = max(counts, key=lambda answer: counts[answer])
    rows = setting.rows[setting.judged]
    return judge(setting.config.task, rows, [best] * len(rows), setting.config.seed)


def _examples(rows: Sequence[Example], said: Sequence[str]) -> list[dict[str, str]]:
    """The first answers, for whoever wants to see what they look like."""
    return [
        {"id": one.id, "question": one.question, "said": text, "true": one.answer}
        for one, text in list(zip(rows, said, strict=True))[:_SHOWN]
    ]


def _verdicts(
    task: str, kept: Score, compared: dict[str, Score], seed: int
) -> list[dict[str, Any]]:
    """The tuned model against each other one, on the same rows, by random signs."""
    found = []
    for name, other in sorted(compared.items()):
        gain, p = compare(kept, other, seed)
        found.append({"against": name, "measure": MEASURES[task][0], "gain": gain, "p": p})
    return found


def _report(setting: Setting, tuned: TunedModel, done: Trained, method: Any) -> dict[str, Any]:
    config = setting.config
    cautions = []
    if setting.judged != "test":
        cautions.append(
            f"no row is `test`: the scores are of the {setting.judged} rows, by which the"
            " model was chosen or learned"
        )
    if not setting.rows["val"]:
        cautions.append("there are no val rows: the last epoch is kept")
    if done.out_of_time:
        cautions.append(f"the time limit ended training at epoch {len(done.history)}")
    trainable, total = tuned.counts
    val = setting.rows["val"]
    return {
        **shown(setting),
        "trainable": trainable,
        "parameters": total,
        "adapter": tuned.is_adapter,
        "epochs": len(done.history),
        "best_epoch": done.best_epoch,
        "out_of_time": done.out_of_time,
        "val_nats": method.nats(val) if val else None,
        "metric": config.metric if config.metric != "auto" else LOSS,
        "measure": MEASURES[config.task][0],
        "cautions": cautions,
    }


def _lines(report: dict[str, Any]) -> list[str]:
    measure, best = report["measure"], report["table"][-1]
    lines = [
        f"{measure} {best[measure]:.3f} ({best['low']:.3f} to {best['high']:.3f}) of"
        f" {best['n']} {report['scored_rows']} {'rows' if report['task'] == 'vqa' else 'pictures'}"
    ]
    for one in report["verdicts"]:
        lines.append(f"against {one['against']}: {one['gain']:+.3f}, p {one['p']:.2g}")
    return lines
