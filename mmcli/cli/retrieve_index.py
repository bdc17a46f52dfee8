"""`mmcli retrieve index` and `tune`: build an index, and say how far its searches look."""

from typing import Annotated

import typer

from mmcli.cli.arrow import spare_pandas
from mmcli.cli.options import (
    Config,
    DryRun,
    Force,
    Json,
    Quiet,
    Verbose,
    Verify,
    check_choice,
    describe_sources,
    words_of,
)
from mmcli.cli.output import Sink

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
  mmcli retrieve tune index --store moved/store

\b
An index that was added to, removed from, folded or merged is measured as it is now: on its store
where that has all its rows, else on the vectors that it keeps. Of codes (SQ8, PQ) these are
decoded, and the recall, marked `codes`, tells what lists miss, not what codes lose."""


def register(app: typer.Typer) -> None:
    """Add the commands to `mmcli retrieve`."""
    app.command("index", epilog=INDEX_EPILOG)(index)
    app.command("tune", epilog=TUNE_EPILOG)(tune)


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
    spare_pandas()
    from mmcli.workflows.index.build import build_index
    from mmcli.workflows.index.config import IndexConfig, Listeners

    settings = IndexConfig(
        store=store,
        output=output,
        modalities=tuple(words_of(modality)),
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
    with sink.counting("index") as progress:
        listeners = Listeners(message=sink.info, debug=sink.debug, progress=progress)
        words = words_of(keywords)
        if words:
            from mmcli.workflows.index.keywords import add_keywords, check_columns

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
    spare_pandas()
    from mmcli.workflows.index.config import Listeners
    from mmcli.workflows.index.tune import TuneConfig, tune_index

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
