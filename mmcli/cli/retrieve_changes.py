"""`mmcli retrieve add | remove | merge | update`: a finished index grown, pruned and joined."""

import sys
from typing import Annotated, Any

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
)
from mmcli.cli.output import Sink

ADD_EPILOG = """\b
Examples:
  mmcli retrieve add index new-store
  mmcli retrieve add index new-store --replace

\b
The new rows lie in files beside those of the index, and a search reads both; past a tenth of the
index they are folded into it (--compact does so at once, --no-compact never). Lists keep the
centres that they were trained to: after much that is unlike the first, build anew."""

UPDATE_EPILOG = """\b
Examples:
  mmcli extract photos -o store --update && mmcli retrieve update index store

\b
The store must be that of the index, changed by extract --update since."""

REMOVE_EPILOG = """\b
Examples:
  mmcli retrieve remove index animals/tiger animals/lion
  mmcli retrieve remove index --where "label = 'blurred'"
  mmcli retrieve search index "a watermark" -k 100 --format jsonl | jq -r .id > ids.txt
  mmcli retrieve remove index --ids ids.txt

\b
Rows are marked as taken out, and no search finds them; past a fifth of the index it is folded
together without them (--compact does so at once, --no-compact never)."""

MERGE_EPILOG = """\b
Examples:
  mmcli retrieve merge index-2024 index-2025 -o index
  mmcli retrieve merge index-2024 index-2025 -o index --replace

\b
The second goes into the kind of index that the first is. Vectors come as it keeps them, so those
of a coded index (SQ8, PQ) are as exact as its codes."""

Compact = Annotated[
    bool | None,
    typer.Option("--compact/--no-compact", help="Fold the files together. Default: when due."),
]
Index = Annotated[str, typer.Argument(help="An index, as retrieve index writes it.")]
StoreArgument = Annotated[str, typer.Argument(help="A store of the same space.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to `retrieve`."""
    app.command("add", epilog=ADD_EPILOG)(add)
    app.command("remove", epilog=REMOVE_EPILOG)(remove)
    app.command("update", epilog=UPDATE_EPILOG)(update)
    app.command("merge", epilog=MERGE_EPILOG)(merge)


def add(
    index: Index,
    store: StoreArgument,
    replace: Annotated[
        bool, typer.Option("--replace", help="Ids that are there are brought up to date.")
    ] = False,
    sync: Annotated[
        bool, typer.Option("--sync", help="Also take out what the store lost; as retrieve update.")
    ] = False,
    compact: Compact = None,
    dry_run: DryRun = False,
    verify: Verify = "once",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Add the rows of a store to an index, through its aligner where it has one."""
    return _add(index, store, replace, sync, compact, dry_run, verify, json, quiet, verbose)


def update(
    index: Index,
    store: Annotated[str, typer.Argument(help="The store of the index, as it is now.")],
    compact: Compact = None,
    dry_run: DryRun = False,
    verify: Verify = "once",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Bring an index to the state of its store: what was added, changed and removed since."""
    return _add(index, store, False, True, compact, dry_run, verify, json, quiet, verbose)


def _add(
    index: str,
    store: str,
    replace: bool,
    sync: bool,
    compact: bool | None,
    dry_run: bool,
    verify: str,
    json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    spare_pandas()
    from mmcli.workflows.index.add import AddConfig, add_rows

    settings = AddConfig(index, store, replace, sync, compact, verify, dry_run)
    _tell(sink, add_rows(settings, sink.info), json, dry_run)
    return 0


def remove(
    index: Index,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids, as search prints them.")] = None,
    ids_file: Annotated[
        str | None, typer.Option("--ids", help="A file of ids, one a line; - is stdin.")
    ] = None,
    where: Annotated[
        str | None, typer.Option("--where", help="Items for which this SQL is true.")
    ] = None,
    missing_ok: Annotated[
        bool, typer.Option("--missing-ok", help="Pass over ids that the index has not.")
    ] = False,
    compact: Compact = None,
    dry_run: DryRun = False,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Take items out of an index, by id or by a condition on their columns."""
    sink = Sink(quiet, verbose)
    spare_pandas()
    from mmcli.workflows.index.remove import RemoveConfig, remove_rows

    settings = RemoveConfig(index, tuple(ids or ()), ids_file, where, missing_ok, compact, dry_run)
    _tell(sink, remove_rows(settings, sys.stdin.buffer, sink.info), json, dry_run)
    return 0


def merge(
    first: Annotated[str, typer.Argument(help="The index whose kind the result has.")],
    second: Annotated[str, typer.Argument(help="An index of the same space.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The index to write.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Of ids in both, the second's are taken.")
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    verify: Verify = "once",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Make one index of two."""
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    spare_pandas()
    from mmcli.workflows.index.merge import MergeConfig, merge_indexes

    settings = MergeConfig(first, second, output, replace, force, verify, dry_run)
    _tell(sink, merge_indexes(settings, sink.info), json, dry_run)
    return 0


def _tell(sink: Sink, report: dict[str, Any], as_json: bool, always: bool) -> None:
    if as_json or always or not sink.quiet:
        sink.report(report, as_json)
