"""What a fine-tuning of a label needs before anything is trained: rows, labels, measure, objective.

Knows the data and the options; trains nothing. Prints nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mmcli.core.errors import UsageError
from mmcli.core.registry import load_attribute, suggestion
from mmcli.data.labels import LabelOptions, check_trainable, read_labels
from mmcli.data.splits import split_rows
from mmcli.engine.device import Placement, place, probe
from mmcli.fusion.objective import OUTPUTS, Objective, objective_for
from mmcli.fusion.registry import FusionSpec
from mmcli.metrics.choice import Measure
from mmcli.store.reader import Store
from mmcli.tasks.registry import TaskSpec
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.features import is_store
from mmcli.workflows.finetune.learning_keys import check_encoders
from mmcli.workflows.finetune.leave_out import OPTION as LEAVE_OUT
from mmcli.workflows.finetune.leave_out import turns_of
from mmcli.workflows.finetune.plan import Plan
from mmcli.workflows.finetune.source_rows import SourceRows, open_rows
from mmcli.workflows.finetune.unimodal import OPTION as UNIMODAL
from mmcli.workflows.finetune.unimodal import WEIGHT as UNIMODAL_WEIGHT
from mmcli.workflows.finetune.unimodal import unimodal_labels
from mmcli.workflows.fuse.contest import check_loss, choose_measure
from mmcli.workflows.fuse.data import FuseData, FuseDataConfig, load_fuse_data
from mmcli.workflows.fuse.fit import FuseOptions, refuse_idle

#: What `--set`, or an option of that name, may say.
_SETTINGS = ("tabular", "layers", LEAVE_OUT, UNIMODAL, UNIMODAL_WEIGHT)
_MEASURES = {
    "sentiment": "mmcli.tasks.sentiment:measures",
    "classification": "mmcli.tasks.classification:measures",
    "event": "mmcli.tasks.event:measures",
}


@dataclass(frozen=True)
class Prepared:
    """Everything that is settled when training begins.

    own: labels of single modalities, None where these learn by the common one. turns: what is left
    out in turn, by `--leave-out`. others: measures beside the one that chooses.
    """

    data: FuseData
    specs: list[FusionSpec]
    own: Any
    turns: Any
    measure: Measure
    others: Sequence[Measure]
    options: FuseOptions
    objective: Objective
    placement: Placement

    def with_methods(self, more: Sequence[FusionSpec]) -> "Prepared":
        """The same with more methods, each once."""
        return replace(self, specs=list({s.name: s for s in (*self.specs, *more)}.values()))


def prepare(
    config: FinetuneConfig,
    spec: TaskSpec,
    plan: Plan,
    store: Store,
    message: Callable[[str], None],
) -> Prepared:
    """Read rows and labels, and choose measure and objective.

    Raises BadInput or UsageError for data and options that do not fit.
    """
    data = load_fuse_data(store, _data_config(config, spec, store), config.device, config.precision)
    check_values(config, data, store)
    check_encoders(plan, store, data)
    data, specs, own = unimodal_labels(config, data, store, plan.methods, message)
    column = str(config.options.get(LEAVE_OUT, ""))
    turns = turns_of(data, store, column, config.splits) if column else []
    kind = OUTPUTS[data.labels.kind]
    measures = load_attribute(_MEASURES[config.task])(kind)
    measure = measures[0]
    if config.metric != "auto":
        measure = choose_measure(config.metric, kind, len(data.labels.classes))
    options = fuse_options(config)
    objective = objective_for(
        data.labels.kind,
        data.labels.values[data.train],
        len(data.labels.classes),
        loss=check_loss(options.loss, kind),
        gamma=options.gamma,
        smoothing=options.smoothing,
        balanced=options.balanced,
    )
    refuse_idle(options, objective)
    return Prepared(
        data=data,
        specs=list(specs),
        own=own,
        turns=turns,
        measure=measure,
        others=[one for one in measures if one.name != measure.name],
        options=options,
        objective=objective,
        placement=place(config.device, config.precision, probe()),
    )


def check_settings(config: FinetuneConfig) -> None:
    """Raise UsageError for a setting that these tasks do not read."""
    for name, value in config.options.items():
        if name not in _SETTINGS:
            raise UsageError(
                f"`--task {config.task}` knows no `{name}`", suggestion(name, _SETTINGS)
            )
        if name in _SETTINGS[:2] and isinstance(value, str):  # `--set`, which has no lists
            raise UsageError(f"`--set {name}={value}`", f"write `--{name} {value}`")


def check_source(config: FinetuneConfig, spec: TaskSpec) -> None:
    """Raise for splits and labels that nothing can be learned from, before anything is embedded."""
    if is_store(config.data) or config.data == "-":
        return
    with open_rows(config.data, config.root, config.mapping) as source:
        rows: Any = SourceRows(source, config.data)
        told = _data_config(config, spec, rows)
        train = split_rows(rows, told.splits, train=True).rows("train")
        check_trainable(read_labels(rows, told.label), train)


def opened(config: FinetuneConfig, spec: TaskSpec, plan: Plan) -> tuple[Store, FuseData] | None:
    """A store that is given as the data, checked as for a run; None for a source."""
    if not is_store(config.data):
        return None
    store = Store.open(config.data, config.verify)
    data = load_fuse_data(store, _data_config(config, spec, store), config.device, config.precision)
    check_values(config, data, store)
    check_encoders(plan, store, data)
    return store, data


def _data_config(config: FinetuneConfig, spec: TaskSpec, store: Store) -> FuseDataConfig:
    label = config.label or next((c for c in spec.label if c in store.columns), "")
    if not label:
        raise UsageError(
            f"`{config.data}` has none of the columns {', '.join(spec.label)}",
            "name the label with `--label`",
        )
    tabular = config.options.get("tabular", ())
    assert isinstance(tabular, tuple)
    return FuseDataConfig(
        label=LabelOptions(label, config.label_kind, config.classes),
        only=config.only,
        tabular=tabular,
        splits=config.splits,
    )


def check_values(config: FinetuneConfig, data: FuseData, store: Store) -> None:
    """What the task itself asks of the label's values."""
    if config.task == "sentiment" and data.labels.kind == "regression":
        from mmcli.tasks.sentiment import check_scores

        check_scores(np.asarray(data.labels.values), store.ids(), data.labels.column)


def fuse_options(config: FinetuneConfig) -> FuseOptions:
    """The tricks that the head's first stage shares with the second."""
    tricks = config.tricks
    return FuseOptions(
        lr=tricks.head_lr,
        warmup=tricks.warmup,
        ema=tricks.ema,
        clip=tricks.clip,
        modality_dropout=tricks.modality_dropout,
        loss=tricks.loss,
        gamma=tricks.focal_gamma,
        smoothing=tricks.smoothing,
        balanced=tricks.balanced,
        **plan_sizes(config),
    )


def plan_sizes(config: FinetuneConfig) -> Mapping[str, Any]:
    """Epochs, batch and so on of the first stage, where no tower is tuned after it."""
    if any(s not in ("probe", "frozen") for s in config.strategy.values()):
        return {}
    told_tricks = asdict(config.tricks)
    names = ("epochs", "batch", "weight_decay", "patience")
    return {name: told_tricks[name] for name in names if told_tricks[name] is not None}
