"""`mmcli verify`: recompute every hash of a directory that mmcli wrote."""

from typing import Annotated

import typer

from mmcli.cli.options import Config, Json, Quiet, Verbose
from mmcli.cli.output import Sink
from mmcli.core.errors import ExitCode

EPILOG = """\b
Examples:
  mmcli verify store
  mmcli verify index --json | jq .problems

Exit 3 when something is missing, changed or inconsistent."""


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command("verify", epilog=EPILOG)(verify)


def verify(
    directory: Annotated[str, typer.Argument(help="A store, index, model or predictions.")],
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Recompute every hash of a directory and check that its files fit together."""
    from mmcli.workflows.verify import verify as run

    sink = Sink(quiet, verbose)
    report = run(directory)
    problems = report["problems"]
    if json:
        sink.report(report, as_json=True)
    else:
        for warning in report["warnings"]:
            sink.warn(f"{warning['file']}: {warning['message']}")
        for problem in problems:
            print(f"{problem['file']}: {problem['message']}")
        sink.info(f"{directory}: {report['files']} files, {len(problems)} problems")
    return int(ExitCode.BAD_INPUT if problems else ExitCode.OK)
