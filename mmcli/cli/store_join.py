"""`mmcli store join`: label columns or another store's embeddings, by id."""

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
from mmcli.cli.source_options import pairs_of
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
  mmcli store join photos labels.csv -o labelled --columns label,split
  mmcli store join photos captions -o both --keys text
  mmcli store join segments films.parquet -o labelled --on parent_id=id --how inner
  mmcli store join photos others -o both --map image:other=image

\b
OTHER is a store, or a JSONL, CSV, TSV or Parquet table. Of a table all columns are taken, of a
store all embeddings and no columns, unless --columns or --keys name some. A row without a partner
keeps its place (--how left): its new columns are empty, its new parts absent. Where OTHER has a
value twice, its first row counts."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("join", epilog=EPILOG)(join)


def join(
    context: typer.Context,
    store: Annotated[str, typer.Argument(help="The store that gets more columns or keys.")],
    other: Annotated[str, typer.Argument(help="A table, or another store.")],
    output: StoreOutput,
    on: Annotated[
        str, typer.Option("--on", help="Column that rows are found by, or OURS=THEIRS.")
    ] = "id",
    columns: Annotated[
        list[str] | None, typer.Option("--columns", help="Only these columns, as in label,split.")
    ] = None,
    keys: Keys = None,
    how: Annotated[
        str, typer.Option("--how", help="left keeps rows without a partner, inner drops them.")
    ] = "left",
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help="Our name = theirs, as in label=class or image:b=image."),
    ] = None,
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
    """Put columns of a table, or embeddings of another store, beside a store's own.

    Both stores stay as they are. Embeddings of one name and different spaces are refused, and so
    are columns of one name: --map gives them another.
    """
    sink = Sink(quiet, verbose)
    check_choice("--how", how, ("left", "inner"))
    check_choice("--verify", verify, ("once", "full", "none"))
    for line in describe_sources(context):
        sink.debug(line)
    spare_pandas()
    from mmcli.workflows.store.join import JoinConfig, join_store
    from mmcli.workflows.store.output import Output

    settings = JoinConfig(
        store=store,
        other=other,
        output=Output(output, force, resume, dry_run, positive("--shard-size", shard_size)),
        on=on,
        columns=tuple(words_of(columns)),
        keys=tuple(words_of(keys)),
        how=how,
        mapping=pairs_of("--map", mapping, "ours=theirs, as in label=class"),
        verify=verify,
    )
    run_and_report(sink, "join", lambda bar: join_store(settings, bar), json, dry_run)
    return 0
