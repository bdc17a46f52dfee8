"""`mmcli data validate`: what is wrong with data, a finding a row."""

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from mmcli.cli.options import (
    FORMATS,
    Config,
    Format,
    Quiet,
    Verbose,
    check_choice,
    describe_sources,
    words_of,
)
from mmcli.cli.output import Sink
from mmcli.cli.source_options import Map, Root, Workers, number_or_auto, pairs_of
from mmcli.core.errors import ExitCode

EPILOG = """\b
Examples:
  mmcli data validate photos
  mmcli data validate posts.csv --split-file splits.parquet --group-by author
  mmcli data validate photos --store store --near image:0.98 --format jsonl
  mmcli data validate clips.jsonl --checks missing,broken --deep

\b
Checks:
  missing         a file that is not there, an item without any part
  broken          a file that cannot be read: empty, cut short, not what its name says
  duplicate       equal items, and equal files under different names
  near-duplicate  embeddings that are almost the same (--near)
  duration        recordings and videos much shorter or longer than the others
  label           missing labels, classes of one row, two spellings, equal items labelled otherwise
  leak            equal items, files or groups in different splits
Exit 3 when anything is found, 0 when nothing is. Findings are rows on stdout, and come as they are
found with --format jsonl or tsv."""

COLUMNS = ("check", "id", "part", "value", "other", "message")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("validate", epilog=EPILOG)(validate)


def validate(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="A store, or what extract takes; - is stdin.")],
    checks: Annotated[
        list[str] | None, typer.Option("--checks", help="Only these, as in missing,broken.")
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Decode every file whole, not only its header.")
    ] = False,
    store: Annotated[
        str | None, typer.Option("--store", help="Embeddings of the items, by their ids.")
    ] = None,
    near: Annotated[
        str | None,
        typer.Option("--near", help="KEY or KEY:COSINE that finds near duplicates. Default: 0.98."),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Column of labels. Default: label, if there.")
    ] = None,
    split_column: Annotated[
        str | None, typer.Option("--split-column", help="Column of splits. Default: split.")
    ] = None,
    split_file: Annotated[
        str | None, typer.Option("--split-file", help="Table of id and split (or fold) instead.")
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option("--group-by", help="Column whose equal values must not be in two splits."),
    ] = None,
    min_duration: Annotated[
        float | None, typer.Option("--min-duration", help="Seconds; shorter is a finding.")
    ] = None,
    max_duration: Annotated[
        float | None, typer.Option("--max-duration", help="Seconds; longer is a finding.")
    ] = None,
    mapping: Map = None,
    root: Root = None,
    workers: Workers = "auto",
    format: Format = "table",
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Look for what would spoil training or search: files, duplicates, labels, leaks."""
    sink = Sink(quiet, verbose)
    check_choice("--format", format, FORMATS)
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.workflows.data.validate import ValidateConfig
    from mmcli.workflows.data.validate import validate as run

    settings = ValidateConfig(
        source=source,
        store=store,
        near=near,
        checks=tuple(words_of(checks)),
        deep=deep,
        label=label,
        split_column=split_column,
        split_file=split_file,
        group_by=group_by,
        min_duration_s=min_duration,
        max_duration_s=max_duration,
        mapping=pairs_of("--map", mapping, "ours=theirs, as in image=img_path"),
        root=root,
        workers=number_or_auto("--workers", workers),
    )
    counts: Counter[str] = Counter()

    def counted(findings: Any) -> Iterator[dict[str, str]]:
        for finding in findings:
            counts[finding.check] += 1
            yield vars(finding)

    with (
        sink.counting("validate") as progress,
        run(settings, sys.stdin.buffer, progress, sink.warn) as (n_items, findings),
    ):
        rows = counted(findings)
        first = next(rows, None)
        if first is not None:
            sink.rows(_again(first, rows), format, COLUMNS)
        elif format == "json":
            sink.rows([], format)
    said = ", ".join(f"{count} {check}" for check, count in counts.most_common())
    sink.info(f"{source}: {n_items} items, {said or 'nothing wrong'}")
    return int(ExitCode.BAD_INPUT if counts else ExitCode.OK)


def _again(first: dict[str, str], rest: Iterator[dict[str, str]]) -> Iterator[dict[str, str]]:
    yield first
    yield from rest
