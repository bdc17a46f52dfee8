"""`mmcli store filter`: some rows and keys of a store."""

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
  mmcli store filter store -o cats --where "label = 'cat' AND duration_s < 3"
  mmcli store filter store -o pairs --has image,text --keys image,text
  mmcli store filter store -o some --sample 1000 --seed 7
  mmcli store filter store -o chosen --ids chosen.txt
  mmcli store filter store -o distinct --dedup image:0.98

\b
Conditions are combined in this order: --where, --has, --ids, --exclude, --dedup, --sample. --where
is a condition in DuckDB's SQL over the items' columns; texts stand in 'single quotes', a column
such as has_image.siglip in "double quotes"."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("filter", epilog=EPILOG)(filter_)


def filter_(
    context: typer.Context,
    store: Annotated[str, typer.Argument(help="A store.")],
    output: StoreOutput,
    where: Annotated[
        str | None, typer.Option("--where", help="SQL condition on the items' columns.")
    ] = None,
    has: Annotated[
        list[str] | None, typer.Option("--has", help="Rows that have these keys, as in image,text.")
    ] = None,
    ids: Annotated[
        str | None,
        typer.Option("--ids", help="Rows of these ids: lines of a file, a table, or - (stdin)."),
    ] = None,
    exclude: Annotated[
        str | None, typer.Option("--exclude", help="Rows of all but these ids: a file as above.")
    ] = None,
    dedup: Annotated[
        str | None,
        typer.Option(
            "--dedup", help="KEY or KEY:COSINE: the first of rows this near. Default: 0.98."
        ),
    ] = None,
    sample: Annotated[
        float | None, typer.Option("--sample", help="So many rows at random, or a share below 1.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed is another sample.")] = 0,
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
    """Keep some rows of a store, in its order, and some of its embeddings.

    The store stays as it is; vectors keep their bits.
    """
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    for line in describe_sources(context):
        sink.debug(line)
    spare_pandas()
    from mmcli.workflows.store.filter import FilterConfig, filter_store
    from mmcli.workflows.store.output import Output

    settings = FilterConfig(
        store=store,
        output=Output(output, force, resume, dry_run, positive("--shard-size", shard_size)),
        where=where,
        has=tuple(words_of(has)),
        ids=ids,
        exclude=exclude,
        dedup=dedup,
        sample=sample,
        seed=seed,
        keys=tuple(words_of(keys)),
        verify=verify,
    )
    run_and_report(sink, "filter", lambda bar: filter_store(settings, bar), json, dry_run)
    return 0
