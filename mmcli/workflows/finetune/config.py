"""What `mmcli finetune` can be told. Knows nothing about how any task is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmcli.data.splits import SplitOptions


@dataclass(frozen=True)
class TrickOptions:
    """How the towers and the head learn; None is "chosen by strategy, quality and rows".

    lr: highest rate of the towers. head_lr: of everything on top of them. layer_decay: each layer
    below the last learns so many times as fast as the one above it (1 for all alike).
    accumulate: batches in one step. checkpointing: recompute activations, to save memory.
    average: keep the mean of the weights of so many best epochs (1 for the best alone).
    mixup: alpha of the Beta distribution that embeddings are mixed by, 0 for none.
    balanced: weigh classes by rarity. modality_dropout: how often a part is left out.
    """

    epochs: int | None = None
    batch: int | None = None
    lr: float | None = None
    head_lr: float = 1e-3
    weight_decay: float | None = None
    warmup: float = 0.1
    layer_decay: float = 1.0
    ema: float = 0.0
    clip: float = 1.0
    patience: int | None = None
    accumulate: int = 1
    checkpointing: bool = False
    average: int = 1
    smoothing: float = 0.0
    mixup: float = 0.0
    modality_dropout: float = 0.1
    balanced: bool = False
    loss: str = "auto"
    focal_gamma: float = 2.0


@dataclass(frozen=True)
class TuneOptions:
    """Sizes of what a strategy adds to a tower.

    last_n: layers that `last-n` trains. rank, alpha, dropout: of lora and dora. bottleneck: width
    of adapters. prompts: tokens put before a tower's own.
    """

    last_n: int = 2
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    bottleneck: int = 32
    prompts: int = 8


@dataclass(frozen=True)
class FinetuneConfig:
    """One run of `mmcli finetune`.

    data: a source (folder, table, `-`) or a store. encoders: for each modality the references the
    user gave; the preset has the rest. strategy: by tower, `""` for all that are not named.
    method: the fusion. label: the column, "" for the task's default. model: a generative
    vision-language model (`hf:…`, `local:DIR`), "" for towers and fusion. pretrained: the MODEL of
    `--from`. shots: of each class, for a few-shot ladder; draws: of each rung. curve: shares of the
    train rows to learn from, one model each. on_error: whether a part that cannot be read ends the
    run (`fail`) or is counted and left out (`skip`). options: what only one task knows, by name.
    """

    task: str
    data: str
    output: str
    label: str = ""
    label_kind: str = "auto"
    classes: tuple[str, ...] = ()
    preset: str = "starter"
    encoders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    mapping: Mapping[str, str] = field(default_factory=dict)
    root: str | None = None
    method: str = ""
    model: str = ""
    pretrained: str = ""
    strategy: Mapping[str, str] = field(default_factory=dict)
    tune: TuneOptions = field(default_factory=TuneOptions)
    tricks: TrickOptions = field(default_factory=TrickOptions)
    splits: SplitOptions = field(default_factory=SplitOptions)
    metric: str = "auto"
    shots: tuple[int, ...] = ()
    draws: int = 5
    curve: tuple[float, ...] = ()
    quality: str = "medium"
    time_limit_s: float | None = None
    seeds: int | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    on_error: str = "fail"
    verify: str = "once"
    checkpoint_s: float = 30.0
    force: bool = False
    resume: bool = False
    dry_run: bool = False
    command: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
