"""`mmcli retrieve`: index a store, search the index, say what it holds."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from mmcli.cli.options import (
    FORMATS,
    Config,
    Device,
    DryRun,
    Force,
    Format,
    Json,
    PrecisionOption,
    Quiet,
    Verbose,
    Verify,
    check_choice,
    describe_sources,
)
from mmcli.cli.output import Sink
from mmcli.core.errors import UsageError

EPILOG = """\b
Examples:
  mmcli retrieve index store -o index
  mmcli retrieve search index "a cup of coffee"
  mmcli retrieve add index more-store
  mmcli retrieve remove index "animals/tiger"
  mmcli retrieve info index --json"""

INDEX_EPILOG = """\b
Examples:
  mmcli retrieve index store -o index
  mmcli retrieve index store -o index --modality image,text
  mmcli retrieve index store -o index --aligner aligner
  mmcli retrieve index store -o index --target-recall 0.99 --memory 4GB
  mmcli retrieve index store -o index --on-disk --memory 2GB
  mmcli retrieve index store -o index --factory IVF1024,SQ8 --force
  mmcli retrieve index store -o index --keywords text

\b
auto is exact (Flat) up to 50,000 vectors. Beyond, it trains inverted lists on a random sample,
tries codes that fit into --memory, and builds the fastest that finds --target-recall of the ten
nearest of rows held out of training; the table says what it tried. retrieve tune changes how far
searches look, later. --on-disk writes lists that searches map: the index may exceed memory."""

TUNE_EPILOG = """\b
Examples:
  mmcli retrieve tune index --target-recall 0.99
  mmcli retrieve tune index --target-recall 0.9 --dry-run --json
  mmcli retrieve tune index --store moved/store"""

SEARCH_EPILOG = """\b
Examples:
  mmcli retrieve search index "a cup of coffee"
  mmcli retrieve search index --image cat.jpg --text "at night=0.5" --text "a dog=-0.3"
  mmcli retrieve search index --speech question.wav -k 3 --html found.html
  mmcli retrieve search index --like animals/tiger --columns image --format tsv
  mmcli retrieve search talks "the budget was cut" --collapse parent_id
  mmcli retrieve search index --queries questions.tsv --format jsonl
  mmcli retrieve search index "a cat" --where "label = 'animal' AND year > 2020"
  mmcli retrieve search index "Kantstrasse 12" --hybrid
  mmcli retrieve search index "a red cube on a blue ball" --rerank pairs --rerank-top 100
  mmcli retrieve search index "a tiger" --format jsonl | jq -r .image | mmcli extract - -o tigers

\b
VALUE=WEIGHT weighs a part of the query; a negative weight pushes away from it. The words given
first weigh 1. A file of queries is JSON lines, TSV or CSV with columns text, image, speech,
video, like (and id), else one text a line; - is stdin.
--rerank puts the best --rerank-top of a query of one part into the order of a cross-attention
aligner, which reads the tokens of the query and the patches of each item: score is then its own
(a logit, any number), retrieval_score what the index said, and --min-score is of score. It reads
the store that the index was made of, extracted with --sequence, and it imports torch."""

app = typer.Typer(
    help="Make an index of a store and search it by words, pictures or recordings.",
    epilog=EPILOG,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("index", epilog=INDEX_EPILOG)
def index(
    context: typer.Context,
    store: Annotated[str, typer.Argument(help="A store, as extract writes it.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The index to write.")],
    modality: Annotated[
        list[str] | None,
        typer.Option(
            "--modality",
            help="Keys to index, as in image or image,text; all of one space. "
            "Default: image, else the first.",
        ),
    ] = None,
    aligner: Annotated[
        str | None,
        typer.Option(
            "--aligner",
            help="Bring rows, and later queries, into the space of this aligner (align train).",
        ),
    ] = None,
    factory: Annotated[
        str,
        typer.Option(
            "--factory",
            help="A FAISS factory string; auto tries some that fit and takes the fastest.",
        ),
    ] = "auto",
    target_recall: Annotated[
        float | None,
        typer.Option(
            "--target-recall",
            help="Share of the true ten nearest to find, measured on held-out rows. "
            "Default for auto: 0.95; 1 is exact.",
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory", help="What the index may take, as in 4GB. Default: half of what is free."
        ),
    ] = None,
    on_disk: Annotated[
        bool,
        typer.Option("--on-disk", help="Leave the lists on disk, mapped; build in little memory."),
    ] = False,
    metric: Annotated[str, typer.Option("--metric", help="cosine, ip or l2.")] = "cosine",
    query_prompt: Annotated[
        str | None,
        typer.Option("--query-prompt", help="Put before text queries. Default: the store's."),
    ] = None,
    keywords: Annotated[
        list[str] | None,
        typer.Option(
            "--keywords", help="Also index the words of these columns (BM25), as in text."
        ),
    ] = None,
    force: Force = False,
    dry_run: DryRun = False,
    verify: Verify = "once",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the training sample.")] = 0,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Build a FAISS index of a store's embeddings.

    The text encoder goes in as ONNX where it can be exported, with the aligner's map behind it, so
    that a search by words needs neither store, aligner nor torch.
    """
    sink = Sink(quiet, verbose)
    check_choice("--metric", metric, ("cosine", "ip", "l2"))
    check_choice("--verify", verify, ("once", "full", "none"))
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.workflows.index_build import build_index
    from mmcli.workflows.index_config import IndexConfig, Listeners

    settings = IndexConfig(
        store=store,
        output=output,
        modalities=tuple(_split(modality)),
        aligner=aligner,
        factory=factory,
        target_recall=target_recall,
        memory=memory,
        on_disk=on_disk,
        metric=metric,
        query_prompt=query_prompt,
        verify=verify,
        force=force,
        dry_run=dry_run,
        seed=seed,
    )
    with ExitStack() as stack:
        bar: Callable[[int], None] | None = None

        def progress(done: int, total: int) -> None:
            nonlocal bar
            if bar is None:  # only now is the number of rows known
                bar = stack.enter_context(sink.progress("index", total))
            bar(done)

        listeners = Listeners(message=sink.info, debug=sink.debug, progress=progress)
        words = _split(keywords)
        if words:
            from mmcli.workflows.index_keywords import add_keywords, check_columns

            check_columns(store, words)
        report = build_index(settings, listeners)
        if words and not dry_run:
            report["keywords"] = add_keywords(output, words)["columns"]
    if json or dry_run or not quiet:
        tried = [] if json else report.pop("tried", None)
        sink.report(report, json)
        if tried:
            print()
            sink.rows(tried, "table")
    return 0


@app.command("search", epilog=SEARCH_EPILOG)
def search(
    context: typer.Context,
    index: Annotated[str, typer.Argument(help="An index, as retrieve index writes it.")],
    text: Annotated[str | None, typer.Argument(help="What to look for, in words.")] = None,
    more_text: Annotated[
        list[str] | None, typer.Option("--text", help="More words, as WORDS or WORDS=WEIGHT.")
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option("--image", help="A picture, as FILE or FILE=WEIGHT.")
    ] = None,
    speech: Annotated[
        list[str] | None, typer.Option("--speech", help="A recording, as FILE or FILE=WEIGHT.")
    ] = None,
    video: Annotated[
        list[str] | None, typer.Option("--video", help="A video, as FILE or FILE=WEIGHT.")
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option("--like", help="An item of the index, as ID or ID=WEIGHT; not found itself."),
    ] = None,
    queries: Annotated[
        str | None, typer.Option("--queries", help="A file of queries, one a row; - is stdin.")
    ] = None,
    k: Annotated[int, typer.Option("-k", "--top", help="Results for each query.")] = 10,
    min_score: Annotated[
        float | None, typer.Option("--min-score", help="Leave out results that score less.")
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option("--rerank", help="An aligner that scores pairs orders the best anew."),
    ] = None,
    rerank_top: Annotated[
        int, typer.Option("--rerank-top", help="How many of the best --rerank looks at.")
    ] = 50,
    collapse: Annotated[
        str | None,
        typer.Option(
            "--collapse", help="Only the best of items with one value here, as in parent_id."
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--where", help="Only items for which this SQL is true: \"label = 'cat'\"."),
    ] = None,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Fuse with BM25 over the index's --keywords, by rank.")
    ] = False,
    keywords_only: Annotated[
        bool, typer.Option("--keywords-only", help="BM25 alone; no encoder is loaded.")
    ] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", help="Columns of the items, as in image,text. Default: all."),
    ] = None,
    format: Format = "table",
    html: Annotated[
        str | None, typer.Option("--html", help="Also write a page with thumbnails and sounds.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --html.")] = False,
    verify: Verify = "once",
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    config: Config = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Find the nearest items to words, pictures, recordings, or several of them together."""
    sink = Sink(quiet, verbose)
    check_choice("--format", format, FORMATS)
    check_choice("--verify", verify, ("once", "full", "none"))
    if verbose:
        for line in describe_sources(context):
            sink.debug(line)
    from mmcli.workflows.query_file import Kind, Query, QueryPart, parse_part, read_queries
    from mmcli.workflows.search import SearchConfig
    from mmcli.workflows.search import search as run

    parts = [QueryPart("text", text)] if text and text.strip() else []
    given: tuple[tuple[Kind, list[str] | None], ...] = (
        ("text", more_text),
        ("image", image),
        ("speech", speech),
        ("video", video),
        ("like", like),
    )
    for kind, values in given:
        parts += [parse_part(kind, value) for value in values or []]
    if hybrid and keywords_only:
        raise UsageError("`--hybrid` and `--keywords-only` exclude each other", "choose one")
    if queries is not None and parts:
        raise UsageError("`--queries` stands alone", "put the other parts into its rows")
    if queries is not None:
        asked = tuple(read_queries(queries, sys.stdin.buffer))
    elif parts:
        asked = (Query(parts[0].value, tuple(parts)),)
    else:
        raise UsageError(
            "nothing to search for",
            "give words in quotes, `--image`, `--speech`, `--video` or `--like`",
        )
    result = run(
        SearchConfig(
            index=index,
            queries=asked,
            k=k,
            min_score=min_score,
            columns=tuple(_split(columns)) if columns is not None else None,
            several=queries is not None,
            html=html,
            force=force,
            verify=verify,
            device=device,
            precision=precision,
            rerank=rerank,
            rerank_top=rerank_top,
            collapse=collapse,
            where=where,
            hybrid=hybrid,
            keywords_only=keywords_only,
        )
    )
    for note in result.notes:
        sink.debug(note)
    for warning in result.warnings:
        sink.warn(warning)
    sink.rows(result.rows, "json" if json else format, result.columns)
    if html:
        sink.info(f"wrote {html}")
    return 0


@app.command("tune", epilog=TUNE_EPILOG)
def tune(
    context: typer.Context,
    index: Annotated[str, typer.Argument(help="An index, as retrieve index writes it.")],
    target_recall: Annotated[
        float, typer.Option("--target-recall", help="Share of the true ten nearest to find.")
    ] = 0.95,
    store: Annotated[
        str | None,
        typer.Option("--store", help="Where the store is that the index was made of, if it moved."),
    ] = None,
    dry_run: DryRun = False,
    verify: Verify = "once",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the held-out rows.")] = 0,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Change how far searches of an index look, until they find the recall asked for.

    Vectors and lists stay as they are; the table says what each setting finds and costs.
    """
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.workflows.index_config import Listeners
    from mmcli.workflows.index_tune import TuneConfig, tune_index

    report = tune_index(
        TuneConfig(index, target_recall, store, verify, dry_run, seed),
        Listeners(message=sink.info, debug=sink.debug),
    )
    if json or dry_run or not quiet:
        tried = [] if json else report.pop("tried")
        sink.report(report, json)
        if tried:
            print()
            sink.rows(tried, "table")
    return 0


@app.command("info", epilog=EPILOG)
def info(
    index: Annotated[str, typer.Argument(help="An index, as retrieve index writes it.")],
    verify: Verify = "none",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Say what an index holds and which queries it takes."""
    check_choice("--verify", verify, ("once", "full", "none"))
    from mmcli.workflows.index_info import index_info

    report: dict[str, Any] = index_info(index, verify)
    Sink(quiet, verbose).report(report, json)
    return 0


def _split(values: list[str] | None) -> list[str]:
    return [part.strip() for value in values or [] for part in value.split(",") if part.strip()]


def _register_changes() -> None:
    from mmcli.cli.retrieve_changes import register

    register(app)


_register_changes()
