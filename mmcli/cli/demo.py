"""`mmcli demo`: real photographs found by words, by a picture and by voice."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from mmcli.cli.options import Config, Device, Json, PrecisionOption, Quiet, Verbose
from mmcli.cli.output import Sink

EPILOG = """\b
Examples:
  mmcli demo
  mmcli demo -o play --force
  mmcli demo -n
  mmcli demo --json | jq .right

Needs the extra `demo`: pip install 'mmcli[demo]'. No network is touched."""


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command("demo", epilog=EPILOG)(demo)


def demo(
    output: Annotated[
        str, typer.Option("-o", "--output", help="Where the photographs, store and index go.")
    ] = "mmcli-demo",
    force: Annotated[
        bool, typer.Option("--force", help="Make a demo that is there already again.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("-n", "--dry-run", help="Only show the commands; write nothing.")
    ] = False,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Show what mmcli does, on a dozen real photographs and two spoken questions.

    Each result stands under the command that makes it. The directory stays: try your own words.
    """
    sink = Sink(quiet, verbose)
    from mmcli.workflows.demo import DemoConfig, Listeners, run_demo

    settings = DemoConfig(output, force, dry_run, device, precision)
    shown = Listeners() if json else Listeners(_show_command, _show_rows, _show_report, sink.info)
    report = run_demo(settings, shown)
    if json:
        sink.report(report, as_json=True)
    elif not dry_run:
        _show_end(report)
    return 0


def _show_command(title: str, line: str) -> None:
    print(f"\n# {title}\n$ {line}", flush=True)


def _show_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    Sink().rows(rows, "table", columns)


def _show_report(report: Mapping[str, Any]) -> None:
    """One line of a long report: what was made."""
    if "store" in report:
        keys = ", ".join(f"{name} by {key['encoder']}" for name, key in report["keys"].items())
        print(f"{report['items']} items, {report['failed']} failed; {keys}", flush=True)
    else:
        print(f"{report['rows']} vectors of {report['dim']} dimensions", flush=True)


def _show_end(report: Mapping[str, Any]) -> None:
    asked = len(report["queries"])
    for result in report["queries"]:
        if not result["right"]:
            print(f"\n{result['query']}: {result['found']} instead of {result['expected']}")
    print(f"\n{report['right']} of {asked} queries found the right photograph first,", end=" ")
    print(f"in {report['total_s']:.0f} s")
    print(f"the results on one page: {report['gallery']}")
