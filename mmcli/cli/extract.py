"""`mmcli extract`: parse, call the workflow, print its report."""

import sys
from typing import Annotated, Any

import typer

from mmcli.cli.options import (
    Config,
    Device,
    DryRun,
    Force,
    Json,
    PrecisionOption,
    Quiet,
    Verbose,
    check_choice,
    describe_sources,
    words_of,
)
from mmcli.cli.output import Sink
from mmcli.cli.source_options import (
    Explode,
    Image,
    Map,
    Only,
    Preset,
    Root,
    Speech,
    Text,
    Video,
    Workers,
    number_or_auto,
    numbers_of,
    pairs_of,
)
from mmcli.core.errors import ExitCode

EPILOG = """\b
SOURCE is a folder (files with the same stem are one item), a glob, a JSONL, CSV, TSV or Parquet
table with columns id, image, text, speech, video, a WebDataset .tar ('d-{000..099}.tar' or
'd/*.tar' for several; nothing is unpacked), a saved HF dataset, or - for paths or JSONL on stdin.
A table or archive may be a URL, and so may the files that a table names: s3://, https:// and
whatever fsspec has a package for.
An encoder E is a name of `mmcli models`, hf:ORG/REPO[@REVISION], timm:NAME or local:DIR.

\b
Examples:
  mmcli extract photos -o store
  mmcli extract posts.csv -o store --map image=img_path,text=caption
  mmcli extract 'shards/train-{000..099}.tar' -o store
  mmcli extract saved_dataset -o store --map text=caption
  mmcli extract captions.jsonl -o store --explode text
  find . -name '*.jpg' -print0 | mmcli extract - -0 -o store --only image
  mmcli extract photos -o store --image conse-efficientnet-lite0 --image efficientnet-lite0
  mmcli extract talks.jsonl -o store --speech whisper-tiny-en --sequence
  mmcli extract talks -o store --window 10s --hop 5s
  mmcli extract films -o store --window 10s --soundtrack --frames 8
  mmcli extract books -o store --window 128tok --hop 64tok
  mmcli extract photos -o store --update
  RAY_ADDRESS=head:6379 mmcli extract photos -o store --engine ray

Exit 6 means done, but some items failed: see STORE/failures.parquet."""


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command("extract", epilog=EPILOG)(extract)


def extract(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(help="Folder, glob, table, .tar, dataset, URL or - (stdin).")
    ],
    output: Annotated[str, typer.Option("-o", "--output", help="The store to write.")],
    preset: Preset = "starter",
    image: Image = None,
    text: Text = None,
    speech: Speech = None,
    video: Video = None,
    only: Only = None,
    mapping: Map = None,
    root: Root = None,
    explode: Explode = None,
    null: Annotated[
        bool, typer.Option("-0", "--null", help="Paths on stdin are separated by NUL.")
    ] = False,
    sequence: Annotated[
        bool, typer.Option("--sequence", help="Also keep tokens, patches or frames.")
    ] = False,
    layers: Annotated[
        list[str] | None, typer.Option("--layers", help="Also keep inner layers, as in 4,8.")
    ] = None,
    query_prompt: Annotated[
        str | None, typer.Option("--query-prompt", help="Put before each text query later.")
    ] = None,
    passage_prompt: Annotated[
        str | None, typer.Option("--passage-prompt", help="Put before each text embedded now.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option("--max-length", help="Tokens at most; the rest is cut, counted.")
    ] = None,
    dim: Annotated[
        int | None, typer.Option("--dim", help="Keep this many leading dimensions (Matryoshka).")
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(
            "--window",
            help="A row a segment: 10s of sound or video, 128tok of texts; speech=10s of one.",
        ),
    ] = None,
    hop: Annotated[
        list[str] | None,
        typer.Option("--hop", help="From start to start of segments. Default: they touch."),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option("--frames", help="Frames of a video or segment. Default: the model's, or 8."),
    ] = None,
    soundtrack: Annotated[
        bool, typer.Option("--soundtrack", help="The sound of a video is its speech part.")
    ] = False,
    store_dtype: Annotated[
        str, typer.Option("--store-dtype", help="fp32 or fp16, on disk.")
    ] = "fp32",
    batch: Annotated[str, typer.Option("--batch", help="auto, or rows in a batch.")] = "auto",
    workers: Workers = "auto",
    shard_size: Annotated[
        int, typer.Option("--shard-size", help="Rows at most in a shard, the unit of resuming.")
    ] = 4096,
    on_error: Annotated[
        str, typer.Option("--on-error", help="skip (count and go on) or fail.")
    ] = "skip",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished store.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Embed only what is new or changed, drop what is gone.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Only redo the shards that hold failures.")
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    trust_remote_code: Annotated[
        bool,
        typer.Option("--trust-remote-code", help="Run a model's own code; needs a pinned commit."),
    ] = False,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    engine: Annotated[
        str, typer.Option("--engine", help="local, or ray: shards are shared out over a cluster.")
    ] = "local",
    seed: Annotated[int, typer.Option("--seed", help="Seed of encoders that draw at random.")] = 0,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Embed pictures, texts, recordings and videos into a store.

    Writes one row an item, whatever failed, as safetensors and Parquet with a manifest that names
    every model, hash and option.
    """
    sink = Sink(quiet, verbose)
    check_choice("--on-error", on_error, ("skip", "fail"))
    check_choice("--store-dtype", store_dtype, ("fp32", "fp16"))
    check_choice("--engine", engine, ("local", "ray"))
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.workflows.extract.plan import ExtractConfig
    from mmcli.workflows.extract.run import extract as run
    from mmcli.workflows.listeners import Listeners

    encoders = {"image": image, "text": text, "speech": speech, "video": video}
    settings = ExtractConfig(
        source=source,
        output=output,
        preset=preset,
        encoders={m: tuple(names) for m, names in encoders.items() if names},
        only=tuple(words_of(only)),
        mapping=pairs_of("--map", mapping, "ours=theirs, as in image=img_path"),
        root=root,
        null_separated=null,
        explode=explode,
        sequence=sequence,
        layers=numbers_of("--layers", layers),
        query_prompt=query_prompt,
        passage_prompt=passage_prompt,
        max_length=max_length,
        dim=dim,
        store_dtype=store_dtype,
        window=tuple(window or ()),
        hop=tuple(hop or ()),
        frames=frames,
        soundtrack=soundtrack,
        batch=number_or_auto("--batch", batch),
        workers=number_or_auto("--workers", workers),
        shard_size=shard_size,
        device=device,
        precision=precision,
        engine=engine,
        on_error=on_error,
        resume=resume,
        force=force,
        retry_failed=retry_failed,
        update=update,
        dry_run=dry_run,
        trust_remote_code=trust_remote_code,
        seed=seed,
    )
    with _Progress(sink) as bar:
        report = run(settings, Listeners(sink.info, bar), sys.stdin.buffer)
    return _finish(sink, report, json)


def _finish(sink: Sink, report: dict[str, Any], as_json: bool) -> int:
    for warning in report.get("warnings", []):
        sink.warn(warning)
    if as_json or report.get("dry_run"):
        sink.report(report, as_json)
    elif not sink.quiet:
        _print_summary(report)
    left = report.get("failed", 0) + report.get("partial", 0)
    if left:
        sink.info(f"{left} items failed or are partial: see {report['store']}/failures.parquet")
        return int(ExitCode.PARTIAL)
    return int(ExitCode.OK)


def _print_summary(report: dict[str, Any]) -> None:
    """The closing table: counts, keys, and where the time went."""
    rate = report["items_per_s"]
    keys = ", ".join(f"{k} ({v['encoder']}, {v['dim']})" for k, v in report["keys"].items())
    busy = ", ".join(f"{k} {v:.1f}" for k, v in report["seconds"].items())
    ignored = ", ".join(
        f"{n} {kind or 'without suffix'}" for kind, n in report["ignored_files"].items()
    )
    Sink().report(
        {
            "store": report["store"],
            "items": f"{report['items']} ({report['ok']} ok, {report['partial']} partial, "
            f"{report['failed']} failed)",
            **({"ignored files": ignored} if ignored else {}),
            "keys": keys,
            "size": f"{report['bytes'] / 1e6:.1f} MB in {report['shards']} shards",
            "speed": f"{rate:.1f} items/s" if rate else "nothing left to do",
            "on": f"{report['device']} {report['precision']}",
            "seconds": busy,
        },
        as_json=False,
    )


class _Progress:
    """Opens the bar at the first report, when the number of items is known."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._context: Any = None
        self._set: Any = None

    def __enter__(self) -> "_Progress":
        return self

    def __call__(self, done: int, total: int) -> None:
        if self._set is None:
            self._context = self._sink.progress("extract", total)
            self._set = self._context.__enter__()
        self._set(done)

    def __exit__(self, *error: Any) -> None:
        if self._context is not None:
            self._context.__exit__(None, None, None)
