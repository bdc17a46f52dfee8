"""`finetune --shots`: a ladder of methods over numbers of shots, from cached embeddings.

Every rung sees the same draws and is judged on the same test rows; the rung that does best at the
most shots is kept as a model. Prints nothing.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmcli.core.errors import MissingResource, SpaceMismatch, UsageError, naming
from mmcli.core.registry import suggestion
from mmcli.store.artifact import ArtifactWriter, check_artifact_output
from mmcli.store.reader import Store
from mmcli.tuning.few_shot.model import KIND
from mmcli.tuning.few_shot.registry import RUNGS, RungSpec
from mmcli.workflows.class_prompts import check_prompts, class_vectors, read_classes
from mmcli.workflows.few_shot.climb import Climb, RowRung, Texts, ladder
from mmcli.workflows.few_shot.data import FewShotData, load_few_shot_data, words_of
from mmcli.workflows.few_shot.files import write_model
from mmcli.workflows.few_shot.report import describe, ladder_rows, note_lines, verdict_lines
from mmcli.workflows.few_shot.scores import rising, score_cells, steps
from mmcli.workflows.few_shot.source import store_of, wanted_of
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.features import is_store
from mmcli.workflows.finetune.plan import fingerprint, told
from mmcli.workflows.listeners import Listeners

PROMPTS = ("a picture of {}",)
#: What `options` may hold: keys to tell classes apart by, rungs, prompts, and a file of the words
#: for each class, as of `evaluate zeroshot --classes`.
OPTIONS = ("keys", "rungs", "prompt", "class_words")


def run(config: FinetuneConfig, listeners: Listeners | None = None) -> dict[str, Any]:
    """The ladder of a store, or of raw files, which are extracted first.

    Raises before anything is written for what does not fit.
    """
    listeners = listeners or Listeners()
    check(config)
    check_artifact_output(Path(config.output), KIND, config.force, config.resume)
    if is_store(config.data):
        store = Store.open(config.data, config.verify)
        planned = plan(config, store)
        if config.dry_run:
            return {"dry_run": True, **planned}
    elif config.dry_run:
        wanted = wanted_of(config)
        found = {m: list(references) for m, references in wanted.encoders.items()}
        return {"dry_run": True, "data": config.data, "shots": list(config.shots),
                "draws": config.draws, "encoders": found}  # fmt: skip
    with ArtifactWriter(
        config.output,
        KIND,
        told(config),
        fingerprint(config),
        force=config.force,
        resume=config.resume,
    ) as writer:
        store = store_of(config, writer.checkpoint, listeners)
        with naming(store.path, config.data):
            return run_on_store(config, store, writer, listeners)


def plan(config: FinetuneConfig, store: Store, others: Sequence[RowRung] = ()) -> dict[str, Any]:
    """What a run would do; raises what it would raise, but loads no encoder."""
    return describe(config, *_prepare(config, store, others))


def check(config: FinetuneConfig) -> None:
    """Raise UsageError for options that fit no data."""
    if not config.shots or min(config.shots) < 1:
        raise UsageError(
            f"`--shots {','.join(map(str, config.shots))}`: must be at least 1",
            "as in 1,2,4,8,16; zero-shot stands beside them anyway",
        )
    if config.draws < 1:
        raise UsageError(f"`--draws {config.draws}`: must be at least 1", "the default is 5")
    for name in config.options:
        if name not in OPTIONS and config.options[name]:
            raise UsageError(f"`{name}` means nothing to `--shots`", suggestion(name, OPTIONS))
    check_prompts(words_of(config.options, "prompt"))


def run_on_store(
    config: FinetuneConfig,
    store: Store,
    writer: ArtifactWriter,
    listeners: Listeners | None = None,
    others: Sequence[RowRung] = (),
) -> dict[str, Any]:
    """Climb the ladder, write the model and report; the writer has been entered.

    Raises BadInput for a label or classes that no shots can be drawn from, UsageError for options
    that do not fit and for a rung asked by name that needs a text encoder where none is known.
    """
    began = time.monotonic()
    listeners = listeners or Listeners()
    data, rungs, warnings = _prepare(config, store, others)
    texts = Texts()
    if any(spec.needs_texts for spec in rungs):
        texts, rungs, more = _texts(config, store, data, rungs)
        warnings += [*more, *texts.warnings]
    report = describe(config, data, rungs, warnings)
    for line in warnings:
        listeners.message(f"warning: {line}")
    names_s = time.monotonic() - began
    climb = Climb(config, data, texts, {other.spec.name: other for other in others}, listeners)
    climb.go(rungs)
    fitted_s = time.monotonic() - began
    scored = score_cells(climb.cells, climb.test.truth, len(data.classes), data.groups, config.seed)
    kept = climb.kept(rungs)
    gains = steps(climb.cells, scored)
    report |= {
        "text_encoder": texts.encoder,
        "prompts": list(texts.prompts),
        "ladder": ladder(climb, scored),
        "steps": gains,
        "rises": rising(gains),
        "kept": kept.record(),
        "seconds": {
            "names": round(names_s, 2),
            **{name: round(seconds, 2) for name, seconds in climb.seconds.items()},
            "scores": round(time.monotonic() - began - fitted_s, 2),
            "total": round(time.monotonic() - began, 2),
        },
    }
    report["table"] = ladder_rows(report)
    report["lines"] = [*verdict_lines(report), *note_lines(report)]
    write_model(writer, kept, data, texts.words, report, climb.history, told(config), config)
    return report


def _prepare(
    config: FinetuneConfig, store: Store, others: Sequence[RowRung]
) -> tuple[FewShotData, list[RungSpec], list[str]]:
    """Data, rungs and warnings, without any encoder."""
    check(config)
    asked = words_of(config.options, "rungs")
    known = {spec.name: spec for spec in RUNGS if spec.on_features}
    known |= {other.spec.name: other.spec for other in others}
    for name in asked:
        if name not in known:
            RUNGS.get(name)  # says which there are
            raise UsageError(
                f"rung `{name}` reads files, and `{store.path}` holds embeddings",
                "give the source, not a store",
            )
    rungs = [spec for spec in known.values() if not asked or spec.name in asked]
    if not any(spec.on_features for spec in rungs):
        raise UsageError("no rung on embeddings is asked for", "add `probe`: one is kept as model")
    data = load_few_shot_data(store, config, learns=any(spec.learns for spec in rungs))
    warnings = list(data.warnings)
    if data.reader.text_key is None:
        rungs, more = _without_texts(
            rungs, asked, f"`{store.path}` has no key in a space of a known text encoder"
        )
        warnings += more
    return data, rungs, warnings


def _without_texts(
    rungs: Sequence[RungSpec], asked: Sequence[str], why: str
) -> tuple[list[RungSpec], list[str]]:
    """The rungs that need no names. Raises UsageError for one that was asked for by name."""
    gone = [spec.name for spec in rungs if spec.needs_texts]
    for name in gone:
        if name in asked:
            raise UsageError(
                f"rung `{name}` reads the classes' names, and {why}",
                "extract with a preset whose spaces are shared, as `starter` or `clip`",
            )
    left = [spec for spec in rungs if not spec.needs_texts]
    return left, [f"{why}: {', '.join(gone)} left out"] if gone else []


def _texts(
    config: FinetuneConfig, store: Store, data: FewShotData, rungs: list[RungSpec]
) -> tuple[Texts, list[RungSpec], list[str]]:
    """The classes' names as vectors, and the rungs that are left when there are none."""
    asked = words_of(config.options, "rungs")
    prompts = words_of(config.options, "prompt") or PROMPTS
    file = next(iter(words_of(config.options, "class_words")), None)
    found = read_classes(file, (), data.classes)
    for name in data.classes:
        if name not in found:
            raise UsageError(
                f"`{file}` has no line for class `{name}`", "a label, a tab and its words a line"
            )
    words = {name: found[name] for name in data.classes}
    try:
        read = class_vectors(
            store,
            str(data.reader.text_key),
            None,
            list(words.values()),
            prompts,
            config.device,
            config.precision,
        )
    except (MissingResource, SpaceMismatch) as error:
        if any(spec.needs_texts and spec.name in asked for spec in rungs):
            raise
        left, warnings = _without_texts(rungs, asked, error.message)
        return Texts(), left, warnings
    texts = Texts(read.vectors, ", ".join(read.encoders), prompts, words, tuple(read.warnings))
    return texts, rungs, []
