"""`mmcli data stats`: what is in a source or a store, counted."""

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from mmcli.cli.options import Config, Json, Quiet, Verbose, describe_sources
from mmcli.cli.output import Sink
from mmcli.cli.source_options import Map, Root, Workers, number_or_auto, pairs_of

EPILOG = """\b
Examples:
  mmcli data stats photos
  mmcli data stats posts.csv --map image=img_path,text=post
  mmcli data stats store --json | jq .parts.speech.duration_s

\b
Files are looked at by their header: formats, sizes in pixels, seconds, samples a second. Texts are
counted in characters and words, by language (ISO 639; `unsure` where few words do not tell), and by
the script that most of their letters are of (ISO 15924). Columns are counted by value, numbers by
their spread."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("stats", epilog=EPILOG)(stats)


def stats(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="A store, or what extract takes; - is stdin.")],
    mapping: Map = None,
    root: Root = None,
    workers: Workers = "auto",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Count what is in a source: parts, formats, sizes, durations, languages, labels."""
    sink = Sink(quiet, verbose)
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.workflows.data.stats import StatsConfig
    from mmcli.workflows.data.stats import stats as run

    settings = StatsConfig(
        source=source,
        mapping=pairs_of("--map", mapping, "ours=theirs, as in image=img_path"),
        root=root,
        workers=number_or_auto("--workers", workers),
    )
    with sink.counting("stats") as progress:
        report = run(settings, sys.stdin.buffer, progress)
    for warning in report["warnings"]:
        sink.warn(warning)
    if json:
        sink.report(report, as_json=True)
        return 0
    head = {name: report[name] for name in ("source", "kind", "rows")}
    sink.report({**head, "ignored": report["ignored"]}, as_json=False)
    for rows in (_spreads(report), _parts(report), _values(report)):
        found = list(rows)
        if found:
            print()
            sink.rows(found, "table")
    return 0


def _parts(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """How many rows have each part, how many do not, how many cannot be used, and which occur
    together."""
    for name, part in report["parts"].items():
        yield {
            "part": name,
            "present": part["present"],
            "missing": part["missing"],
            "broken": sum(part["broken"].values()),
        }
    for name, count in report["together"].items():
        if "+" in name or name == "none":
            yield {"part": name, "present": count}


def _spreads(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every number that is measured, and every column of numbers."""
    for name, part in report["parts"].items():
        for measure, spread in part.items():
            if isinstance(spread, dict) and "median" in spread:
                yield {"of": f"{name} {measure}", **spread}
    for name, column in report["columns"].items():
        if "median" in column:
            yield {"of": name, **{k: v for k, v in column.items() if k not in ("type", "missing")}}


def _values(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every value that is counted: formats and languages of parts, the most frequent of columns."""
    for name, part in report["parts"].items():
        for counted in ("formats", "languages", "scripts", "rates_hz", "channels"):
            for value, count in part.get(counted, {}).items():
                yield {"of": f"{name} {counted}", "value": value, "count": count}
    for name, column in report["columns"].items():
        if column["missing"]:
            yield {"of": name, "value": "(missing)", "count": column["missing"]}
        for value, count in column.get("values", {}).items():
            yield {"of": name, "value": value, "count": count}
