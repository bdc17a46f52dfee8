"""`mmcli align attention`: what the words of an item find in its picture."""

from typing import Annotated

import typer

from mmcli.cli.options import (
    Config,
    Force,
    Json,
    Quiet,
    Verbose,
    Verify,
    check_choice,
    describe_sources,
)
from mmcli.cli.output import Sink

EPILOG = """\b
Examples:
  mmcli align attention pairs store --id 000001a -o words.png
  mmcli align attention pairs store --id 000001a --picture-of 000001b -o wrong.png --layer 1

\b
The picture is shown once for each token, dark where its weight is least; the number beside the
token is its largest weight. Layer 0 is the likeness of token and patch that the score starts from:
what a word stands for lights up. Layers 1 and on are where it looks to correct that score, often
for what speaks against it, so that a word may look at the other thing."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("attention", epilog=EPILOG)(attention)


def attention(
    context: typer.Context,
    aligner: Annotated[str, typer.Argument(help="An aligner of --method cross-attention.")],
    store: Annotated[str, typer.Argument(help="A store with the sequences that it reads.")],
    id: Annotated[str, typer.Option("--id", help="The item whose words look.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The PNG to write.")],
    picture_of: Annotated[
        str | None,
        typer.Option("--picture-of", help="The item whose picture they look at. Default: --id."),
    ] = None,
    layer: Annotated[
        int, typer.Option("--layer", help="Layer of cross-attention; 0: likeness, before any.")
    ] = 0,
    head: Annotated[
        int | None, typer.Option("--head", help="One head alone. Default: the mean of all.")
    ] = None,
    force: Force = False,
    verify: Verify = "once",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Draw what each word of an item finds in a picture.

    Writes a contact sheet, one cell a token, and prints the pair's score and each token's patch.
    """
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.workflows.align.attention import AttentionConfig
    from mmcli.workflows.align.attention import attention as run

    report = run(
        AttentionConfig(
            aligner=aligner,
            store=store,
            id=id,
            output=output,
            layer=layer,
            head=head,
            picture_of=picture_of,
            verify=verify,
            force=force,
        )
    )
    if json:
        sink.report(report, json)
    elif not quiet:
        sink.report({name: value for name, value in report.items() if name != "words"}, False)
        rows = [{**word, "weight": round(word["weight"], 4)} for word in report["words"]]
        sink.rows(rows, "table")
    return 0
