"""`mmcli models`: what encoders and presets there are, without loading any."""

from typing import Annotated, Any

import typer

from mmcli.cli.options import FORMATS, Config, Format, Json, Quiet, Verbose, check_choice
from mmcli.cli.output import Sink

EPILOG = """\b
Examples:
  mmcli models
  mmcli models show minilm-l6
  mmcli models --modality image --format jsonl | jq -r .name

Beside these: hf:ORG/REPO[@REVISION], timm:NAME and local:DIR."""

COLUMNS = ("name", "kind", "modality", "dim", "licence", "size_mb", "languages", "summary")


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command("models", epilog=EPILOG)(models)


def models(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="list (the default), or show NAME.", metavar="[show NAME]"),
    ] = None,
    modality: Annotated[str, typer.Option("--modality", help="Only those that take it.")] = "",
    format: Format = "table",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """List encoders and presets, or show one in full."""
    from mmcli.core.errors import UsageError
    from mmcli.workflows.models import describe, list_models

    check_choice("--format", format, FORMATS)
    sink = Sink(quiet, verbose)
    words = words or ["list"]
    if words[0] == "show" and len(words) == 2:
        report = describe(words[1])
        sink.report(report, as_json=json or format != "table")
        return 0
    if words != ["list"]:
        raise UsageError(
            f"`mmcli models {' '.join(words)}`", "write `models` or `models show NAME`"
        )
    rows: list[dict[str, Any]] = list_models(modality or None)
    sink.rows(rows, "json" if json else format, COLUMNS if format in ("table", "tsv") else None)
    return 0
