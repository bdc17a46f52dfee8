"""`mmcli retrieve`: search an index and say what it holds; its other commands stand beside."""

import sys
from typing import Annotated, Any

import typer

from mmcli.cli import retrieve_changes, retrieve_index
from mmcli.cli.arrow import spare_pandas
from mmcli.cli.options import (
    FORMATS,
    Config,
    Device,
    Format,
    Json,
    PrecisionOption,
    Quiet,
    Verbose,
    Verify,
    check_choice,
    describe_sources,
    words_of,
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


retrieve_index.register(app)


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
    spare_pandas()
    from mmcli.workflows.queries.file import Kind, Query, QueryPart, parse_part, read_queries
    from mmcli.workflows.search.run import SearchConfig
    from mmcli.workflows.search.run import search as run

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
            columns=tuple(words_of(columns)) if columns is not None else None,
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
    spare_pandas()
    from mmcli.workflows.index.info import index_info

    report: dict[str, Any] = index_info(index, verify)
    Sink(quiet, verbose).report(report, json)
    return 0


retrieve_changes.register(app)
