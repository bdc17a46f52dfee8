"""The options that say which rows train, validate and test: the same for every verb that does."""

from typing import Annotated

import typer

SplitColumn = Annotated[
    str,
    typer.Option(
        "--split-column", help="Column of train, val and test; other values name test sets."
    ),
]
SplitFile = Annotated[
    str | None,
    typer.Option("--split-file", help="Table of id, split (or fold), as data split writes it."),
]
Fold = Annotated[
    int | None,
    typer.Option("--fold", help="Test on this fold of the column fold; train on the others."),
]
ValFraction = Annotated[
    float,
    typer.Option("--val-fraction", help="Share of train taken as val where val is missing."),
]
GroupBy = Annotated[
    str | None,
    typer.Option("--group-by", help="Column whose equal values never part, as in caption."),
]
