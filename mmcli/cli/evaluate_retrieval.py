"""`mmcli evaluate retrieval`: both directions of two modalities, exact and with intervals."""

from typing import Annotated, Any

import typer

from mmcli.cli.options import (
    Config,
    Device,
    Json,
    PrecisionOption,
    Quiet,
    Verbose,
    Verify,
    check_choice,
)
from mmcli.cli.options import describe_sources as sources
from mmcli.cli.output import Sink
from mmcli.cli.split_options import Fold, GroupBy, SplitColumn, SplitFile, ValFraction
from mmcli.core.errors import UsageError

EPILOG = """\b
Examples:
  mmcli evaluate retrieval store --query text --target image
  mmcli evaluate retrieval store --query text --target image --aligner aligner --against store
  mmcli evaluate retrieval store --query speech --target image --relevant-by caption --slice voice
  mmcli evaluate retrieval store --query text --target image --run run.txt --qrels-out qrels.txt
  mmcli evaluate retrieval store --query image --target image --relevant-by category
  mmcli evaluate retrieval store --query text --target image --rerank pairs --rerank-top 100

\b
Both directions are scored, every query against every target, by cosine. Measures, each a mean
over the queries that have a relevant target:
  hit@k        the share of queries that find at least one relevant target within rank k
  recall@k     the share of a query's relevant targets that rank within k
  ndcg@k       discounted gain up to rank k over the best possible one
  mrr          1 / rank of the first relevant target
  map          average precision
  mean_rank    the rank of the first relevant target; median_rank its median
With one relevant target a query, hit@k and recall@k are the same; with several they are not.

\b
Ties: `expected` gives a relevant target the mean of the ranks it takes over all orders of its
tie, and measures are taken there; `trec` orders a tie by descending id, as trec_eval does.
Intervals are 95 % bootstrap percentiles over queries. With --relevant-by, or with --group-by, all
queries of one value are drawn together, since they share their answers; `--group-by id` draws
each by itself.
Re-ranking: --rerank puts the best --rerank-top of each query into the order of a cross-attention
aligner, in front of all others; the ranking before it and the difference are reported beside it.
It reads sequences (extract --sequence). What --against names is not re-ranked; --run then holds
only what was re-ranked. --precision is the re-ranker's.
Rows: those of the split `test` where the store or a file has splits, else all. A row that lacks a
part is no query or no target, and is counted."""


def register(app: typer.Typer) -> None:
    """Add the command to `evaluate`."""
    app.command("retrieval", epilog=EPILOG)(retrieval)


def retrieval(
    context: typer.Context,
    store: Annotated[str, typer.Argument(help="A store, as extract writes it.")],
    query: Annotated[str, typer.Option("--query", help="Key or modality that asks, as in text.")],
    target: Annotated[
        str, typer.Option("--target", help="Key or modality that is looked for, as in image.")
    ],
    aligner: Annotated[
        str | None, typer.Option("--aligner", help="Map both through this aligner first.")
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option("--rerank", help="An aligner that scores pairs orders the best anew."),
    ] = None,
    rerank_top: Annotated[
        int, typer.Option("--rerank-top", help="How many of the best --rerank looks at.")
    ] = 50,
    relevant_by: Annotated[
        str | None,
        typer.Option(
            "--relevant-by", help="Column whose equal values are right. Default: the same row."
        ),
    ] = None,
    qrels: Annotated[
        str | None,
        typer.Option("--qrels", help="TREC judgements: query id, 0, target id, gain."),
    ] = None,
    k: Annotated[str, typer.Option("-k", help="Ranks to cut at, as in 1,5,10.")] = "1,5,10",
    ties: Annotated[str, typer.Option("--ties", help="expected or trec.")] = "expected",
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", help="Resamples for the intervals; 0 for none.")
    ] = 1000,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="Store of the same ids, or an aligner: test the difference on the same queries.",
        ),
    ] = None,
    slice_by: Annotated[
        list[str] | None,
        typer.Option("--slice", help="Column: also score the queries of each of its values."),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Rows to take: test, val, train, all, a name.")
    ] = None,
    split_column: SplitColumn = "split",
    split_file: SplitFile = None,
    fold: Fold = None,
    val_fraction: ValFraction = 0.1,
    group_by: GroupBy = None,
    run: Annotated[
        str | None, typer.Option("--run", help="Write a TREC run of query to target.")
    ] = None,
    run_depth: Annotated[int, typer.Option("--run-depth", help="Targets a query in --run.")] = 100,
    qrels_out: Annotated[
        str | None, typer.Option("--qrels-out", help="Write what is relevant as TREC judgements.")
    ] = None,
    html: Annotated[
        str | None, typer.Option("--html", help="Write a page with scores and the worst queries.")
    ] = None,
    worst: Annotated[
        int, typer.Option("--worst", help="Queries of each direction shown in --html.")
    ] = 12,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    verify: Verify = "once",
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of resamples and val rows.")] = 0,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Score how well each of two modalities finds the other."""
    sink = Sink(quiet, verbose)
    check_choice("--ties", ties, ("expected", "trec"))
    check_choice("--verify", verify, ("once", "full", "none"))
    if verbose:
        for line in sources(context):
            sink.debug(line)
    from mmcli.data.splits import SplitOptions
    from mmcli.workflows.evaluate.retrieval import evaluate_retrieval
    from mmcli.workflows.evaluate.retrieval_config import RetrievalConfig
    from mmcli.workflows.listeners import Listeners

    settings = RetrievalConfig(
        store=store,
        query=query,
        target=target,
        aligner=aligner,
        rerank=rerank,
        rerank_top=rerank_top,
        relevant_by=relevant_by,
        qrels=qrels,
        ks=_ranks(k),
        ties=ties,
        bootstrap=bootstrap,
        against=against,
        slices=tuple(slice_by or ()),
        split=split,
        splits=SplitOptions(split_column, split_file, fold, val_fraction, group_by, seed),
        run=run,
        run_depth=run_depth,
        qrels_out=qrels_out,
        html=html,
        worst=worst,
        force=force,
        verify=verify,
        device=device,
        precision=precision,
        seed=seed,
    )
    with sink.counting("rank") as progress:
        report = evaluate_retrieval(settings, Listeners(sink.debug, progress))
    for warning in report["warnings"]:
        sink.warn(warning)
    show(sink, report, json)
    for path in (run, qrels_out, html):
        if path:
            sink.info(f"wrote {path}")
    return 0


def show(sink: Sink, report: dict[str, Any], json: bool) -> None:
    """Print the report: JSON, or the tables of it."""
    if json:
        sink.report(report, True)
        return
    from mmcli.workflows.evaluate import retrieval_tables as tables

    found = [tables.fact_rows, tables.direction_rows, tables.measure_rows, tables.before_rows]
    found += [tables.against_rows, tables.slice_rows, tables.diagnostic_rows]
    shown = [rows for rows in (make(report) for make in found) if rows]
    for number, rows in enumerate(shown):
        if number:
            print()
        sink.rows(rows, "table")


def _ranks(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
    except ValueError:
        raise UsageError(f"`-k {text}`: not whole numbers", "as in -k 1,5,10") from None
