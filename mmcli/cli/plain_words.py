"""Words of a command line that are strings already, without pydantic.

typer checks every value by a pydantic adapter, and importing that takes a command longer than all
else that it does with its words. What is a string and should be one passes here; the rest, and any
typer that works otherwise, goes its own way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args, get_origin

import typer


@dataclass(frozen=True)
class _Passing:
    """Stands for the adapter of a parameter, which is built when a value needs it."""

    descriptor: Any
    build: Callable[[Any], Any]

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as the verb's function gets it; raises typer's error for a wrong one."""
        try:
            passed, result = _as_given(value, param, self.descriptor)
        except AttributeError:  # another typer
            passed = False
        if passed:
            return result
        return self.build(self.descriptor).coerce(value, param=param, ctx=ctx)


@dataclass(frozen=True)
class _Passer:
    """What typer calls for each parameter in place of `build`, its own."""

    build: Callable[[Any], Any]

    def __call__(self, descriptor: Any) -> Any:
        return _Passing(descriptor, self.build)


def pass_strings() -> None:
    """Have typer take strings as they are, in this process and from here on."""
    core: Any = typer.core
    own = getattr(core, "build_runtime_param", None)
    if own is not None and not isinstance(own, _Passer):
        core.build_runtime_param = _Passer(own)


def _as_given(value: Any, param: Any, descriptor: Any) -> tuple[bool, Any]:
    """Whether the value needs no conversion, and what it is then."""
    kind = descriptor.annotation
    several = param.multiple or param.nargs == -1
    if value is None:
        return True, () if several else None
    if descriptor.parameter_info.parser or descriptor.is_choice:
        return False, None
    if several:
        strings = get_origin(kind) is list and get_args(kind) == (str,)
        strings = strings and isinstance(value, tuple | list)
        return (strings and all(isinstance(one, str) for one in value)), list(value)
    return kind in (str, bool, int, float) and type(value) is kind, value
