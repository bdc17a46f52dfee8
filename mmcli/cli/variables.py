"""The environment variables that options are read from: `MMCLI_<VERB>_<OPTION>`.

The parser itself only knows one by the name of the function's parameter, which for `--top` may be
`k`. That goes on working, after the names that the user sees.
"""

import os
from collections.abc import Sequence
from typing import Any

_YES = frozenset({"1", "true", "t", "yes", "y", "on"})


def name_variables(command: Any, path: Sequence[str]) -> None:
    """Have every option of a command read from the variables of its long names.

    path: the words of the command, the program first.
    """
    for parameter in command.params:
        if parameter.param_type_name != "option":
            continue
        names = [_variable(path, flag) for flag in parameter.opts if flag.startswith("--")]
        parameter.envvar = names or parameter.envvar
        negative = [_variable(path, flag) for flag in parameter.secondary_opts]
        if negative:
            parameter.resolve_envvar_value = _Either(parameter.resolve_envvar_value, negative)


def variable_used(parameter: Any, prefix: str | None) -> str:
    """The name of the variable that gave an option its value; "" where none did."""
    named = parameter.envvar or ()
    either = getattr(parameter, "resolve_envvar_value", None)
    names = [named] if isinstance(named, str) else list(named)
    names += [f"{prefix}_{str(parameter.name).upper()}"] if prefix else []
    names += either.negative if isinstance(either, _Either) else []
    return next((name for name in names if os.environ.get(name)), "")


class _Either:
    """The value of a switch from its variable, or from that of `--no-…`, turned round."""

    def __init__(self, positive: Any, negative: list[str]) -> None:
        self.positive = positive
        self.negative = negative

    def __call__(self, context: Any) -> str | None:
        found: str | None = self.positive(context)
        if found is not None:
            return found
        said = next((v for v in map(os.environ.get, self.negative) if v), None)
        return None if said is None else str(said.strip().lower() not in _YES)


def _variable(path: Sequence[str], flag: str) -> str:
    return "_".join([*path, flag.lstrip("-")]).replace("-", "_").upper()
