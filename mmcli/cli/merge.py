"""`mmcli merge`: a tuned tower as a plain folder of transformers or peft."""

from typing import Annotated

import typer

from mmcli.cli.options import Config, Force, Json, Quiet, Verbose
from mmcli.cli.output import Sink

EPILOG = """\b
Examples:
  mmcli merge model -o minilm-tuned --tower text
  mmcli merge model -o adapter --tower text --adapter
  mmcli extract texts.csv -o store --text local:minilm-tuned"""


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command("merge", epilog=EPILOG)(merge)


def merge(
    model: Annotated[str, typer.Argument(help="A model whose towers finetune tuned.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The folder to write.")],
    tower: Annotated[
        str, typer.Option("--tower", help="Its key, as in text. Default: the only one.")
    ] = "",
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Write a PEFT adapter instead of whole weights.")
    ] = False,
    force: Force = False,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Write what tuning changed into the base weights, and save them as a plain model folder."""
    from mmcli.workflows.merge import MergeConfig
    from mmcli.workflows.merge import merge as run

    report = run(MergeConfig(model, output, tower, adapter, force))
    sink = Sink(quiet, verbose)
    if json or not quiet:
        sink.report(report, json)
    return 0
