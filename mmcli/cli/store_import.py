"""`mmcli store import`: vectors that other programs wrote, as a store."""

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
    check_choice,
    describe_sources,
)
from mmcli.cli.output import Sink
from mmcli.cli.source_options import Map, Root, pairs_of
from mmcli.cli.store_options import (
    SHARD_ROWS,
    Resume,
    ShardSize,
    StoreOutput,
    positive,
    run_and_report,
)
from mmcli.core.errors import ExitCode

EPILOG = """\b
Examples:
  mmcli store import vectors.npy -o store --items items.csv --key image --encoder clip
  mmcli store import part-*.npy -o store --items items.parquet --key text --space mine@1
  mmcli store import table.parquet -o store --key text --column embedding
  mmcli store import rows.jsonl -o store --key image --map image=path,id=name
  mmcli store import clip-retrieval-folder -o store --encoder clip

\b
SOURCE is one or more .npy files (--items describes their rows), Parquet or JSONL with a column of
vectors, or several called <key>_embedding, a folder of clip-retrieval (img_emb, text_emb,
metadata), or what store export wrote. Ids are the column id, else row numbers. A row of zeros, or
null, is an absent part. A vector that holds NaN is listed, counted and left out (exit 6). Two
stores can be compared only when they name the same space."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("import", epilog=EPILOG)(import_)


def import_(
    context: typer.Context,
    sources: Annotated[
        list[str], typer.Argument(help=".npy, Parquet or JSONL files, or a folder.")
    ],
    output: StoreOutput,
    key: Annotated[
        str | None, typer.Option("--key", help="What the embedding is called, as in image.")
    ] = None,
    items: Annotated[
        str | None, typer.Option("--items", help="Table whose rows belong to those of .npy files.")
    ] = None,
    column: Annotated[
        str | None, typer.Option("--column", help="Column of vectors, where there are several.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="What made them, as extract --image names it.")
    ] = None,
    space: Annotated[
        str | None, typer.Option("--space", help="Their space, as in minilm-l6@53aa51172d14.")
    ] = None,
    normalized: Annotated[
        str, typer.Option("--normalized", help="Vectors of length one: auto (look), yes or no.")
    ] = "auto",
    mapping: Map = None,
    root: Root = None,
    on_error: Annotated[
        str, typer.Option("--on-error", help="skip (count and go on) or fail.")
    ] = "skip",
    shard_size: ShardSize = SHARD_ROWS,
    resume: Resume = False,
    force: Force = False,
    dry_run: DryRun = False,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Make a store of vectors that are there already.

    Those of 16 and 32 bits keep their bits, those of 64 become 32.
    """
    sink = Sink(quiet, verbose)
    check_choice("--normalized", normalized, ("auto", "yes", "no"))
    check_choice("--on-error", on_error, ("skip", "fail"))
    for line in describe_sources(context):
        sink.debug(line)
    spare_pandas()
    from mmcli.workflows.store.import_vectors import ImportConfig, import_vectors
    from mmcli.workflows.store.output import Output

    settings = ImportConfig(
        sources=tuple(sources),
        output=Output(output, force, resume, dry_run, positive("--shard-size", shard_size)),
        key=key,
        items=items,
        column=column,
        encoder=encoder,
        space=space,
        normalized=normalized,
        mapping=pairs_of("--map", mapping, "ours=theirs, as in image=img_path"),
        root=root,
        on_error=on_error,
    )
    report = run_and_report(sink, "import", lambda b: import_vectors(settings, b), json, dry_run)
    return int(ExitCode.PARTIAL if report.get("partial") or report.get("failed") else ExitCode.OK)
