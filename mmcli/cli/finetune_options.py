"""The options of `finetune` that say how towers and head learn, and their bounds."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mmcli.core.bounds import TRAINING, Bounds, check_options

Strategy = Annotated[
    list[str] | None,
    typer.Option("--strategy", help="What of the towers learns, as in lora or image=lora."),
]
From = Annotated[
    str, typer.Option("--from", help="A model of finetune whose towers this one starts from.")
]
LastN = Annotated[int, typer.Option("--last-n", help="Layers that last-n trains.")]
Rank = Annotated[int, typer.Option("--rank", help="Rank of lora and dora.")]
Alpha = Annotated[float, typer.Option("--alpha", help="Scale of lora and dora: alpha / rank.")]
LoraDropout = Annotated[float, typer.Option("--lora-dropout", help="Dropout within lora and dora.")]
Bottleneck = Annotated[int, typer.Option("--bottleneck", help="Width of adapters.")]
Prompts = Annotated[int, typer.Option("--prompts", help="Tokens that prompts puts before others.")]
Rate = Annotated[float | None, typer.Option("--lr", help="Highest learning rate of the towers.")]
HeadRate = Annotated[
    float, typer.Option("--head-lr", help="Highest learning rate of fusion and head.")
]
LayerDecay = Annotated[
    float, typer.Option("--layer-decay", help="Rate of a layer, as a share of the one above it.")
]
Average = Annotated[
    int, typer.Option("--average", help="Mean of the weights of so many best epochs, if better.")
]
Accumulate = Annotated[int, typer.Option("--accumulate", help="Batches in one step.")]
Checkpointing = Annotated[
    bool,
    typer.Option("--gradient-checkpointing", help="Compute activations twice, to save memory."),
]
Smoothing = Annotated[
    float, typer.Option("--label-smoothing", help="Share given to all classes alike.")
]
Mixup = Annotated[
    float, typer.Option("--mixup", help="Alpha of mixed embeddings while tuning; 0: none.")
]
ModalityDropout = Annotated[
    float, typer.Option("--modality-dropout", help="How often a part is left out in training.")
]
ClassWeights = Annotated[bool, typer.Option("--class-weights", help="Weigh classes by rarity.")]
Loss = Annotated[str, typer.Option("--loss", help="cross-entropy, focal; huber, mae, mse; auto.")]
FocalGamma = Annotated[
    float, typer.Option("--focal-gamma", help="How much focal loss spares easy rows.")
]
Hot = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="What only one task reads, as in max_new_tokens=20; examples/finetuning.md has all.",
    ),
]
TimeLimit = Annotated[float | None, typer.Option("--time-limit", help="Seconds for all training.")]

#: Lowest and highest value of each, by the name of its parameter.
_BOUNDS: dict[str, Bounds] = {
    **{name: limits for name, limits in TRAINING.items() if name not in ("dropout", "layers")},
    "last_n": (1, 1000),
    "rank": (1, 4096),
    "alpha": (1e-6, 1e6),
    "lora_dropout": (0, 0.99),
    "bottleneck": (1, 65_536),
    "prompts": (1, 1000),
    "head_lr": (1e-9, 100),
    "layer_decay": (0.01, 1),
    "average": (1, 100),
    "accumulate": (1, 10_000),
    "label_smoothing": (0, 0.99),
    "mixup": (0, 100),
    "modality_dropout": (0, 0.99),
    "focal_gamma": (0, 100),
    "unimodal_weight": (0, 1000),
    "draws": (1, 1000),
    "time_limit": (1e-3, 1e9),
}


def check_bounds(values: Mapping[str, Any]) -> None:
    """Raise UsageError for a number outside its bounds, as NaN is."""
    check_options(values, _BOUNDS)
