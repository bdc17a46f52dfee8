"""`mmcli store concat`: the rows of several stores, one after another."""

from typing import Annotated

import typer

from mmcli.cli.arrow import spare_pandas
from mmcli.cli.options import (
    Config,
    DryRun,
    Force,
    Json,
    Quiet,
    Verbose,
    Verify,
    check_choice,
    describe_sources,
    words_of,
)
from mmcli.cli.output import Sink
from mmcli.cli.store_options import (
    SHARD_ROWS,
    Keys,
    Resume,
    ShardSize,
    StoreOutput,
    positive,
    run_and_report,
)

EPILOG = """\b
Examples:
  mmcli store concat january february -o year
  mmcli store concat old new -o all --prefix old/,new/
  mmcli store concat photos drawings -o pictures --keys image

\b
Every store has the same keys, of the same space, width and normalisation. Columns are joined by
name in a type that holds the values of all; where a store lacks one it is empty."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("concat", epilog=EPILOG)(concat)


def concat(
    context: typer.Context,
    stores: Annotated[list[str], typer.Argument(help="Two or more stores.")],
    output: StoreOutput,
    prefix: Annotated[
        str | None,
        typer.Option("--prefix", help="Put before the ids, one a store, as in a/,b/ or ,new/."),
    ] = None,
    keys: Keys = None,
    shard_size: ShardSize = SHARD_ROWS,
    resume: Resume = False,
    force: Force = False,
    dry_run: DryRun = False,
    verify: Verify = "once",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Put the rows of several stores one after another.

    The stores stay as they are; vectors keep their bits. Paths become absolute where the stores'
    files lie in different folders. An id that is there twice is refused: --prefix tells them apart.
    """
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    for line in describe_sources(context):
        sink.debug(line)
    spare_pandas()
    from mmcli.workflows.store.concat import ConcatConfig, concat_stores
    from mmcli.workflows.store.output import Output

    settings = ConcatConfig(
        stores=tuple(stores),
        output=Output(output, force, resume, dry_run, positive("--shard-size", shard_size)),
        keys=tuple(words_of(keys)),
        prefixes=() if prefix is None else tuple(prefix.split(",")),
        verify=verify,
    )
    run_and_report(sink, "concat", lambda bar: concat_stores(settings, bar), json, dry_run)
    return 0
