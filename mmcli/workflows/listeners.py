"""Who hears of a run, since workflows print nothing."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Listeners:
    """`message` of log lines, `progress` of what is done and what there is in all."""

    message: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], None] = lambda done, total: None
