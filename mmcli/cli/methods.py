"""`mmcli methods`: fusions, alignments, tasks and strategies, and one in formula and numbers."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mmcli.cli.options import FORMATS, Config, Format, Json, Quiet, Verbose, check_choice
from mmcli.cli.output import Sink

EPILOG = """\b
Examples:
  mmcli methods
  mmcli methods --verb fuse --format jsonl | jq -r .name
  mmcli methods show fuse:low-rank
  mmcli methods show align:linear --json | jq -r '.example[]'

The example of `show` is computed by the method's own code when it is asked for."""

COLUMNS = ("name", "verb", "stage", "reads", "option", "summary", "paper")


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command("methods", epilog=EPILOG)(methods)


def methods(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="list (the default), or show NAME.", metavar="[show NAME]"),
    ] = None,
    verb: Annotated[
        str, typer.Option("--verb", help="Only those of align, fuse or finetune.")
    ] = "",
    format: Format = "table",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """List fusions, alignments, tasks and strategies, or show one with formula and example."""
    from mmcli.core.errors import UsageError
    from mmcli.workflows.methods import describe_method, list_methods

    check_choice("--format", format, FORMATS)
    sink = Sink(quiet, verbose)
    words = words or ["list"]
    if words[0] == "show" and len(words) == 2:
        _show(sink, describe_method(words[1]), as_json=json or format != "table")
        return 0
    if words != ["list"]:
        raise UsageError(
            f"`mmcli methods {' '.join(words)}`", "write `methods` or `methods show NAME`"
        )
    rows: list[dict[str, Any]] = list_methods(verb or None)
    sink.rows(rows, "json" if json else format, COLUMNS if format in ("table", "tsv") else None)
    return 0


def _show(sink: Sink, report: Mapping[str, Any], as_json: bool) -> None:
    """The report; as text its example stands below, a line of it a line."""
    if as_json:
        sink.report(report, as_json=True)
        return
    sink.report({name: report[name] for name in report if name != "example"}, as_json=False)
    if report["example"]:
        print("\nexample:")
    for line in report["example"]:
        print(f"  {line}")
