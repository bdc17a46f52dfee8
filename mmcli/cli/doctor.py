"""`mmcli doctor`: say what works here and what is missing."""

from typing import Any

import typer

from mmcli.cli.options import Config, Json, Quiet, Verbose
from mmcli.cli.output import Sink
from mmcli.core.errors import MissingResource

EPILOG = """\b
Examples:
  mmcli doctor
  mmcli doctor --json | jq .torch

Exit 4 when something needed does not work; a missing extra is only reported."""


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command("doctor", epilog=EPILOG)(doctor)


def doctor(
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Import everything, look at the machine, and say what is missing.

    No network is touched.
    """
    sink = Sink(quiet, verbose)
    sink.debug("importing every dependency takes some seconds")
    from mmcli.workflows.doctor import examine

    report = examine()
    sink.report(report if json else _readable(report), json)
    for name, extra in report["extras"].items():
        if not extra["complete"]:
            sink.info(f"extra `{name}` is not complete: pip install 'mmcli[{name}]'")
    if report["problems"]:
        name, reason = next(iter(report["problems"].items()))
        others = len(report["problems"]) - 1
        raise MissingResource(
            f"`{name}` does not import: {reason}" + (f" (and {others} more)" if others else ""),
            "install mmcli again in a new virtual environment",
        )
    return 0


def _readable(report: dict[str, Any]) -> dict[str, Any]:
    """The report with a line an extra, and nothing for what is as it should be."""
    lines = {key: value for key, value in report.items() if key not in ("ok", "problems")}
    for name in report["problems"]:
        lines[name] = "does not import"
    lines["extras"] = {
        name: "complete"
        if extra["complete"]
        else "; ".join(f"{part}: {why}" for part, why in extra["missing"].items())
        for name, extra in report["extras"].items()
    }
    return lines
