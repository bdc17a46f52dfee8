"""What `retrieve index` can be told, and who hears of its run."""

from collections.abc import Callable
from dataclasses import dataclass

from mmcli.core.errors import UsageError
from mmcli.core.sizes import parse_bytes
from mmcli.index.factory import MEMORY_SHARE, available_memory

#: Recall@10 that `--factory auto` looks for unless the user names another.
TARGET = 0.95


@dataclass(frozen=True)
class IndexConfig:
    """What `mmcli retrieve index` can be told. modalities: keys of the store, as in `image`."""

    store: str
    output: str
    modalities: tuple[str, ...] = ()
    aligner: str | None = None
    factory: str = "auto"
    target_recall: float | None = None
    memory: str | None = None
    on_disk: bool = False
    metric: str = "cosine"
    query_prompt: str | None = None
    verify: str = "once"
    force: bool = False
    dry_run: bool = False
    seed: int = 0


@dataclass
class Listeners:
    """Who hears of the run: `message` of log lines, `debug` of finer ones, `progress` of rows."""

    message: Callable[[str], None] = lambda text: None
    debug: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], None] = lambda done, total: None


def check_config(config: IndexConfig) -> int:
    """Bytes that the index may take. Raises UsageError for what is not possible."""
    if config.metric not in ("cosine", "ip", "l2"):
        raise UsageError(f"`--metric {config.metric}` is unknown", "use cosine, ip or l2")
    check_target(config.target_recall)
    return memory_of(config.memory)


def check_target(target: float | None) -> None:
    """Raise UsageError unless it is a recall that can be aimed at."""
    if target is not None and not 0 < target <= 1:
        raise UsageError(
            f"`--target-recall {target}`: must be above 0 and at most 1",
            "as in `--target-recall 0.95`",
        )


def memory_of(text: str | None) -> int:
    """Bytes that an index may take: what the user says, else half of what is free."""
    if text is None:
        return int(available_memory() * MEMORY_SHARE)
    return parse_bytes("--memory", text)
