"""`mmcli store export`: a store's vectors and items in files that other programs read."""

from typing import Annotated

import typer

from mmcli.cli.arrow import spare_pandas
from mmcli.cli.options import (
    Config,
    DryRun,
    Json,
    Quiet,
    Verbose,
    Verify,
    check_choice,
    describe_sources,
    words_of,
)
from mmcli.cli.output import Sink
from mmcli.cli.store_options import Keys, run_and_report

EPILOG = """\b
Examples:
  mmcli store export store -o vectors --to npy
  mmcli store export store -o vectors.parquet --to parquet --keys image
  mmcli store export store -o vectors.jsonl --to jsonl
  mmcli store export store -o folder --to clip-retrieval

\b
Layouts:
  npy             a folder: <key>.npy (zeros where a part is absent), ids.parquet with id, columns
                  and has_<key>; --sequence adds <key>.values.npy and <key>.offsets.npy
  parquet         one file: the columns, and <key>_embedding (a list of fixed size, null if absent)
  jsonl           one object a line, the same; a number has the fewest digits that give its bits
  clip-retrieval  img_emb/img_emb_0.npy, text_emb/, metadata/metadata_0.parquet
store import reads each of them back. All but jsonl keep encoder, space, prompts and 16 bits; of
jsonl it takes every <key>_embedding as float32."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("export", epilog=EPILOG)(export)


def export(
    context: typer.Context,
    store: Annotated[str, typer.Argument(help="A store.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The file or folder to write.")],
    to: Annotated[
        str, typer.Option("--to", help="npy, parquet, jsonl or clip-retrieval, see below.")
    ],
    keys: Keys = None,
    sequence: Annotated[
        bool, typer.Option("--sequence", help="Tokens, patches and frames too (npy).")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    dry_run: DryRun = False,
    verify: Verify = "once",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Write vectors and items for other programs. The store stays as it is."""
    sink = Sink(quiet, verbose)
    check_choice("--to", to, ("npy", "parquet", "jsonl", "clip-retrieval"))
    check_choice("--verify", verify, ("once", "full", "none"))
    for line in describe_sources(context):
        sink.debug(line)
    spare_pandas()
    from mmcli.workflows.store.export import ExportConfig, export_store

    settings = ExportConfig(
        store=store,
        output=output,
        to=to,
        keys=tuple(words_of(keys)),
        sequence=sequence,
        force=force,
        dry_run=dry_run,
        verify=verify,
    )
    run_and_report(sink, "export", lambda bar: export_store(settings, bar), json, dry_run)
    return 0
