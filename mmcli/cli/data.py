"""`mmcli data`: look at data, split rows, and make data whose truth is known."""

import sys
from typing import Annotated

import typer

from mmcli.cli import data_stats, data_synth, data_validate
from mmcli.cli.options import (
    Config,
    DryRun,
    Json,
    Quiet,
    Verbose,
    check_choice,
    describe_sources,
)
from mmcli.cli.output import Sink
from mmcli.cli.source_options import pairs_of

EPILOG = """\b
Examples:
  mmcli data stats photos
  mmcli data validate photos
  mmcli data split store -o splits.parquet --test 0.2 --group-by caption
  mmcli data synth scenes -o scenes -n 2000"""

SPLIT_EPILOG = """\b
Examples:
  mmcli data split store -o splits.parquet --test 0.2 --val 0.1 --group-by caption
  mmcli data split posts.csv -o splits.parquet --stratify-by label --map text=post
  mmcli data split store -o folds.parquet --folds 5 --group-by caption --method hash
  mmcli align train store -o aligner --between text,image --split-file folds.parquet --fold 0

\b
SOURCE is a store, or what extract takes: a folder, glob, table, or JSONL on stdin (-).
Methods:
  random  shares as exact as the groups allow, drawn by a hash of --seed and the group's value (the
          id without --group-by). Added rows move at most the groups at the edges of the splits;
          with folds or --stratify-by they may move others too.
  hash    the group's own value alone decides: fold = sha256(value) mod K, or where sha256(value)
          falls between 0 and 1. Shares are about right, and added rows never move another. No seed.
With --group-by and --stratify-by together the class shares are kept as well as whole groups allow.
A row without a group is one by itself."""

app = typer.Typer(
    help="Look at data, split rows for training and testing, make data whose truth is known.",
    epilog=EPILOG,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_synth.app, name="synth")
data_stats.register(app)
data_validate.register(app)


@app.command("split", epilog=SPLIT_EPILOG)
def split(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="A store, folder, glob, table or - (stdin).")],
    output: Annotated[str, typer.Option("-o", "--output", help="The Parquet file to write.")],
    test: Annotated[
        float | None, typer.Option("--test", help="Share of the rows to test on. Default: 0.2.")
    ] = None,
    val: Annotated[
        float | None, typer.Option("--val", help="Share to validate on. Default: 0.1.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", help="Write a column fold, 0 to K-1, instead.")
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option("--group-by", help="Column whose equal values never part, as in caption."),
    ] = None,
    stratify_by: Annotated[
        str | None,
        typer.Option("--stratify-by", help="Column of classes whose shares every split keeps."),
    ] = None,
    method: Annotated[str, typer.Option("--method", help="random or hash, see below.")] = "random",
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help="Our column = theirs, as in image=img_path,text=caption."),
    ] = None,
    root: Annotated[
        str | None, typer.Option("--root", help="What paths in a table or list are relative to.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed is another split.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of -o.")] = False,
    dry_run: DryRun = False,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Say of every row whether it trains, validates or tests, in a file of id and split.

    The source is only read. Every verb that trains or evaluates takes the file: --split-file, with
    --fold N where it holds folds.
    """
    sink = Sink(quiet, verbose)
    check_choice("--method", method, ("random", "hash"))
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.workflows.data.split import SplitConfig
    from mmcli.workflows.data.split import split as run

    settings = SplitConfig(
        source=source,
        output=output,
        test=test,
        val=val,
        folds=folds,
        group_by=group_by,
        stratify_by=stratify_by,
        method=method,
        mapping=pairs_of("--map", mapping, "ours=theirs, as in image=img_path"),
        root=root,
        seed=seed,
        force=force,
        dry_run=dry_run,
    )
    report = run(settings, sys.stdin.buffer)
    for warning in report["warnings"]:
        sink.warn(warning)
    if json:
        sink.report(report, as_json=True)
    elif dry_run or not quiet:
        classes = report.pop("classes")
        sink.report({name: value for name, value in report.items() if name != "warnings"}, False)
        if classes:
            sink.rows(({"class": name, **counts} for name, counts in classes.items()), "table")
    return 0
