"""What `evaluate retrieval` can be told, and what of it is refused before anything is scored."""

from dataclasses import dataclass, field

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.splits import SplitOptions
from mmcli.metrics.ranking import TIES
from mmcli.workflows.evaluate.vectors import Side
from mmcli.workflows.output_files import refuse_file, refuse_page


@dataclass(frozen=True)
class RetrievalConfig:
    """What `mmcli evaluate retrieval` can be told.

    rerank: an aligner that scores pairs, which puts each query's best `rerank_top` in order.
    """

    store: str
    query: str
    target: str
    aligner: str | None = None
    rerank: str | None = None
    rerank_top: int = 50
    relevant_by: str | None = None
    qrels: str | None = None
    ks: tuple[int, ...] = (1, 5, 10)
    ties: str = "expected"
    bootstrap: int = 1000
    against: str | None = None
    slices: tuple[str, ...] = ()
    split: str | None = None
    splits: SplitOptions = field(default_factory=SplitOptions)
    run: str | None = None
    run_depth: int = 100
    qrels_out: str | None = None
    html: str | None = None
    worst: int = 12
    force: bool = False
    verify: str = "once"
    device: str = "auto"
    precision: str = "auto"
    seed: int = 0


def check_config(config: RetrievalConfig) -> None:
    """Raise UsageError for options that do not fit, BadInput for a file that is there already."""
    if not config.ks or min(config.ks) < 1:
        raise UsageError("`-k` takes whole numbers from 1", "as in -k 1,5,10")
    if config.ties not in TIES:
        raise UsageError(f"`--ties {config.ties}` is unknown", "use " + " or ".join(TIES))
    for option, value, least in (
        ("--bootstrap", config.bootstrap, 0),
        ("--run-depth", config.run_depth, 1),
        ("--worst", config.worst, 0),
        ("--rerank-top", config.rerank_top, 1),
    ):
        if value < least:
            raise UsageError(
                f"`{option} {value}`: must be at least {least}", "leave it out, or raise it"
            )
    if config.relevant_by is not None and config.qrels is not None:
        raise UsageError("`--relevant-by` and `--qrels` exclude each other", "give one of them")
    for option, path in (
        ("--run", config.run),
        ("--qrels-out", config.qrels_out),
    ):
        refuse_file(option, path, config.force)
    refuse_page(config.html, config.force)


def check_sides(config: RetrievalConfig, query: Side, target: Side) -> None:
    """Raise BadInput where there is nothing to rank."""
    for side in (query, target):
        if not len(side.rows):
            raise BadInput(
                f"no row under evaluation of `{config.store}` has `{side.name}`",
                "extract that modality, or choose another `--split`",
            )
    for side in (query, target):
        if len(side.rows) < 2:
            raise BadInput(
                f"only one row under evaluation of `{config.store}` has `{side.name}`:"
                " nothing to rank",
                "evaluate a store with more rows, or another `--split`",
            )
