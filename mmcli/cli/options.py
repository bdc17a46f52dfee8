"""The options that every verb shares, and where their values come from.

The flag wins over the variable `MMCLI_<VERB>_<OPTION>`, and that over `--config FILE.toml`. `-v`
names the source of each.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mmcli.cli.variables import variable_used
from mmcli.core.errors import UsageError
from mmcli.core.registry import suggestion


def read_config(context: typer.Context, path: str | None) -> str | None:
    """Take defaults from a TOML file: option names, at its top or under the verb's name."""
    if path is None or context.resilient_parsing:
        return path
    import tomllib

    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"`--config {path}`: {error.strerror}", "give a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"`--config {path}`: {error}", "it must be TOML") from error
    values = _values_for(context, table, path)
    parameters = context.command.params
    known: dict[str, Any] = {str(p.name): p for p in parameters}
    for parameter in parameters:  # what the user sees goes before what the code calls it
        for flag in parameter.opts:
            if flag.startswith("-"):
                known[flag.lstrip("-").replace("-", "_")] = parameter
    defaults: dict[str, Any] = {}
    for key, value in values.items():
        target = known.get(key.replace("-", "_"))
        if target is None:
            options = [name.replace("_", "-") for name in known]
            raise UsageError(f"`{path}`: unknown key `{key}`", suggestion(key, options))
        if getattr(target, "multiple", False) and not isinstance(value, list):
            value = [value]
        defaults[str(target.name)] = value
    context.default_map = {**(context.default_map or {}), **defaults}
    return path


def _values_for(context: typer.Context, table: dict[str, Any], path: str) -> dict[str, Any]:
    """The file's values for one verb: those at the top, then those in sections on the way to it.

    A section is a verb's name, as in `[extract]` or `[retrieve.search]`. Raises UsageError for one
    that no verb has.
    """
    values: dict[str, Any] = {}
    words = context.command_path.split()[1:]
    command: Any = context.find_root().command
    for word in [*words, ""]:
        verbs = getattr(command, "commands", {})
        for key, value in table.items():
            if not isinstance(value, dict):
                values[key] = value
            elif key not in verbs:
                hint = suggestion(key, verbs) if verbs else "values are text, numbers or lists"
                raise UsageError(f"`{path}`: no verb is named `{key}`", hint)
        table = table.get(word, {})
        command = verbs.get(word)
    return values


Config = Annotated[
    str | None,
    typer.Option(
        "--config", help="TOML file of option values.", callback=read_config, is_eager=True
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No log and no progress.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="More log, on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="The report as JSON on stdout.")]
Format = Annotated[str, typer.Option("--format", help="How rows print: table, json, jsonl, tsv.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
PrecisionOption = Annotated[
    str, typer.Option("--precision", help="auto, fp32, bf16 or fp16; auto is bf16 where native.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace what the output directory holds.")]
Verify = Annotated[
    str,
    typer.Option("--verify", help="Check hashes: once (per file version), full or none."),
]

DryRun = Annotated[
    bool, typer.Option("-n", "--dry-run", help="Say what would be done; write nothing.")
]

FORMATS = ("table", "json", "jsonl", "tsv")


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> str:
    """The value, if it is one of the choices; else UsageError with the nearest one."""
    if value not in choices:
        raise UsageError(f"`{option} {value}` is unknown", suggestion(value, choices))
    return value


def words_of(values: list[str] | None) -> list[str]:
    """The words of an option that takes `a,b` and may be repeated."""
    return [part.strip() for value in values or [] for part in value.split(",") if part.strip()]


def describe_sources(context: typer.Context) -> list[str]:
    """One line an option: its value and where it came from (flag, variable, file, default)."""
    words = {
        "COMMANDLINE": "flag",
        "DEFAULT_MAP": "config file",
        "DEFAULT": "default",
    }
    lines = []
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if name in context.params and source is not None:
            word = words.get(source.name, source.name.lower())
            if source.name == "ENVIRONMENT":
                word = f"variable {variable_used(parameter, context.auto_envvar_prefix)}"
            lines.append(f"{name.replace('_', '-')} = {context.params[name]!r} ({word})")
    return lines


def command_line() -> str:
    """The command as it was typed, for a model card."""
    import shlex

    return shlex.join(["mmcli", *sys.argv[1:]])
