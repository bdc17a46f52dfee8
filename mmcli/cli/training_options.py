"""The options of verbs that train step by step: how long, how fast, how often.

None is "chosen by the number of rows", and what was chosen is written into the model's config.
"""

from typing import Annotated

import typer

Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--keys", help="Only these keys, as in text,image:NAME. Default: all of each modality."
    ),
]
Epochs = Annotated[int | None, typer.Option("--epochs", help="Passes over the train rows.")]
Batch = Annotated[int | None, typer.Option("--batch", help="Rows in a batch.")]
WeightDecay = Annotated[
    float | None, typer.Option("--weight-decay", help="Decoupled weight decay.")
]
Warmup = Annotated[
    float, typer.Option("--warmup", help="Share of the steps over which the rate rises.")
]
Clip = Annotated[float, typer.Option("--clip", help="Largest norm of the gradient; 0 for none.")]
Patience = Annotated[
    int | None, typer.Option("--patience", help="Epochs without gain before it stops.")
]
Seeds = Annotated[int, typer.Option("--seeds", help="Runs to train; the best on val is kept.")]
FirstSeed = Annotated[int, typer.Option("--seed", help="The first seed.")]
Checkpoint = Annotated[float, typer.Option("--checkpoint", help="Seconds between checkpoints.")]
