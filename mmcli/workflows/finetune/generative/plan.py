"""What a run of a generative model is about to do, understood before anything is written.

Reads the reference, the data and the options, and checks them against each other. Knows nothing
about how the model learns.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmcli.core.errors import UsageError
from mmcli.core.registry import suggestion
from mmcli.engine.decoding import worker_count
from mmcli.engine.device import Placement, place, probe
from mmcli.tasks.generative.checking import Lengths, check_rows
from mmcli.tasks.generative.examples import Example
from mmcli.tasks.generative.loading import Base, find_base, speak
from mmcli.tasks.generative.registry import DEFAULT_MODEL, TASKS
from mmcli.tasks.generative.scoring import MEASURES
from mmcli.tasks.generative.tokens import Dialect, Writing
from mmcli.tasks.generative.tuned import FROZEN, plan
from mmcli.workflows.finetune.config import FinetuneConfig, TrickOptions
from mmcli.workflows.finetune.generative.rows import GenerativeData, load_rows

#: Highest rate by what the words do: what is new learns faster than what was pre-trained.
RATES = {"full": 2e-5, "gradual": 2e-5, "last-n": 5e-5, "bitfit": 5e-4, "probe": 1e-3}
NEW_RATE = 2e-4
EPOCHS = {"fast": 1, "medium": 3, "best": 6}
BATCH = 8
#: Words of an answer and of a caption, in tokens, at most.
LONGEST = {"vqa": 16, "caption": 48}
LOSS = "loss"
#: What `--set` may name. baselines: `no` spares the answers of the base and those without pictures.
OWN_OPTIONS = ("max_new_tokens", "beams", "prompt", "baselines")


@dataclass(frozen=True)
class Setting:
    """A run that has been understood: what it needs of config, base and data."""

    config: FinetuneConfig
    base: Base
    dialect: Dialect
    prompt: str
    strategy: dict[str, str]
    data: GenerativeData
    rows: dict[str, list[Example]]
    split_source: str
    judged: str
    writing: Writing
    placement: Placement
    lengths: Lengths

    @property
    def lr(self) -> float:
        """The highest learning rate."""
        return self.config.tricks.lr or RATES.get(self.strategy["text"], NEW_RATE)

    @property
    def epochs(self) -> int:
        """How often each row is seen."""
        return self.config.tricks.epochs or EPOCHS[self.config.quality]

    @property
    def batch(self) -> int:
        """Rows in a pass."""
        return self.config.tricks.batch or BATCH

    @property
    def adapts(self) -> bool:
        """Whether the base itself stays as it is, so that it may be held in fewer bits."""
        learned = set(self.strategy.values()) - {FROZEN}
        return bool(learned) and learned <= {"lora", "dora", "ia3"}


def refuse(config: FinetuneConfig) -> None:
    """Raise UsageError for what a generative model has no use for."""
    if config.task not in TASKS:
        raise UsageError(f"`--task {config.task}` writes no text", f"{' and '.join(TASKS)} do")
    if config.quality not in EPOCHS:
        raise UsageError(
            f"`--quality {config.quality}` is unknown", suggestion(config.quality, EPOCHS)
        )
    plain = TrickOptions()
    idle = {
        "--method": bool(config.method),
        "--only": bool(config.only),
        "--classes": bool(config.classes),
        "--label-kind": config.label_kind != "auto",
        "--from": bool(config.pretrained),
        "--shots": bool(config.shots),
        "--curve": bool(config.curve),
        "--seeds": (config.seeds or 1) != 1,
        "--tabular": bool(config.options.get("tabular")),
        "--layers": bool(config.options.get("layers")),
        "--mixup": config.tricks.mixup != plain.mixup,
        "--head-lr": config.tricks.head_lr != plain.head_lr,
        "--modality-dropout": config.tricks.modality_dropout not in (0, plain.modality_dropout),
        "--class-weights": config.tricks.balanced,
        "--loss": config.tricks.loss != plain.loss,
        "--focal-gamma": config.tricks.focal_gamma != plain.focal_gamma,
    }
    idle |= {f"--{modality}": bool(names) for modality, names in config.encoders.items()}
    for option, told_so in idle.items():
        if told_so:
            raise UsageError(
                f"`{option}` is not of a generative model", "leave it out, or `--model`"
            )
    known = (LOSS, *MEASURES[config.task])
    if config.metric != "auto" and config.metric not in known:
        raise UsageError(
            f"`--metric {config.metric}` is not of {config.task}", suggestion(config.metric, known)
        )
    for name in config.options:
        if name not in (*OWN_OPTIONS, "tabular", "layers"):
            raise UsageError(f"`--set {name}` is unknown", suggestion(name, OWN_OPTIONS))


def understand(config: FinetuneConfig) -> Setting:
    """Find the base, read the rows, check each of them. Raises what is wrong with any of them."""
    writing = writing_of(config.options, config.task)
    base = find_base(config.model or DEFAULT_MODEL)
    strategy = plan(config.strategy, base.family)
    data = load_rows(
        config.data,
        config.task,
        config.label,
        root=config.root,
        mapping=config.mapping,
        verify=config.verify,
    )
    splits = data.splits(config.splits, train=True)
    rows = {name: data.of(splits, name) for name in ("train", "val", "test")}
    judged = next(name for name in ("test", "val", "train") if rows[name])
    prompt = str(config.options.get("prompt") or base.family.prompt(config.task))
    dialect = speak(base, config.task, prompt)
    lengths = check_rows(
        base,
        dialect,
        data.examples,
        worker_count(config.workers, len(data.examples)),
        answered=True,
    )
    return Setting(
        config,
        base,
        dialect,
        prompt,
        strategy,
        data,
        rows,
        splits.source,
        judged,
        writing,
        place(config.device, config.precision, probe()),
        lengths,
    )


def writing_of(options: Mapping[str, object], task: str) -> Writing:
    """How answers are written. Raises UsageError for a number that is none."""
    found = {}
    for name, default in (("max_new_tokens", LONGEST[task]), ("beams", 1)):
        given = options.get(name, default)
        try:
            value = int(str(given))
        except ValueError:
            value = 0
        if not 1 <= value <= 65536:
            raise UsageError(f"`--set {name}={given}`", f"a whole number, as in {name}={default}")
        found[name] = value
    return Writing(found["max_new_tokens"], found["beams"])


def with_baselines(config: FinetuneConfig) -> bool:
    """Whether the base and hidden pictures are judged, too."""
    given = str(config.options.get("baselines", "yes"))
    if given not in ("yes", "no"):
        raise UsageError(f"`--set baselines={given}`", "yes or no")
    return given == "yes"


def describe(setting: Setting) -> str:
    """One line on what is about to be learned."""
    counts = ", ".join(f"{len(rows)} {name}" for name, rows in setting.rows.items())
    parts = ", ".join(f"{part} {name}" for part, name in setting.strategy.items())
    return (
        f"{setting.config.task} by {setting.base.reference} ({setting.base.family.name}); {parts};"
        f" {counts} rows ({setting.split_source}); at most {setting.lengths.most} tokens a row;"
        f" {setting.placement.device} {setting.placement.precision}"
    )


def shown(setting: Setting) -> dict[str, Any]:
    """What a report says of a setting."""
    config, base = setting.config, setting.base
    return {
        "model": config.output,
        "task": config.task,
        "method": base.family.name,
        "base": base.reference,
        "revision": base.revision,
        "data": config.data,
        "label": setting.data.label,
        "prompt": setting.prompt if not base.family.chat or setting.data.kind != "messages" else "",
        "strategy": dict(setting.strategy),
        "rows": {name: len(rows) for name, rows in setting.rows.items()},
        "splits": setting.split_source,
        "scored_rows": setting.judged,
        "tokens": asdict(setting.lengths),
        "chosen": {
            "lr": setting.lr,
            "epochs": setting.epochs,
            "batch": setting.batch,
            "accumulate": config.tricks.accumulate,
        },
        "writing": asdict(setting.writing),
        "device": setting.placement.device,
        "precision": setting.placement.precision,
    }
