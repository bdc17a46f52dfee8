"""`mmcli data synth`: one command for each kind of data that mmcli can make."""

from typing import Annotated, Any

import typer

from mmcli.cli import data_synth_planted
from mmcli.cli.options import Config, Force, Json, Quiet, Verbose, describe_sources
from mmcli.cli.output import Sink
from mmcli.cli.synth_options import DryRun, Output, Seed
from mmcli.core.errors import UsageError

EPILOG = """\b
Examples:
  mmcli data synth scenes -o scenes -n 2000
  mmcli data synth planted -o planted --synergistic 1
  mmcli data synth streams -o streams -n 600
  mmcli data synth clips -o clips
  mmcli data synth posts -o posts
  mmcli data synth scenes -h"""

SCENES_EPILOG = """\b
Examples:
  mmcli data synth scenes -o scenes -n 2000
  mmcli data synth scenes -o scenes -n 500 --speech --voices 4 --seed 7
  mmcli extract scenes -o store --sequence
  mmcli extract scenes/questions.jsonl -o questions --map text=question

\b
Every scene has a partner whose caption has the same words, bound otherwise: "a red circle to the
left of a blue square", "a blue circle to the left of a red square". DIR/items.jsonl holds captions
and the whole truth, DIR/questions.jsonl questions and answers, DIR/README.md the best possible
scores. A larger -n begins with the same scenes; the same options give the same bytes."""

STREAMS_EPILOG = """\b
Examples:
  mmcli data synth streams -o streams -n 600
  mmcli data synth streams -o quick -n 100 --rate 2 --seed 7

\b
Recordings of 8 to 15 seconds in which two to seven things happen. Some are heard, some are seen,
and four are told apart by both only: a bell or a horn, a lamp lit red or blue. DIR/items.jsonl has
the recording, the moving picture (an animated PNG) and the events with their times, DIR/README.md
the best possible scores of ears, of eyes and of both. A larger -n begins with the same recordings;
the same options give the same bytes."""

CLIPS_EPILOG = """\b
Examples:
  mmcli data synth clips -o clips
  mmcli data synth clips -o few -n 200 --seed 7
  mmcli extract clips -o store --speech whisper-tiny-en --speech logmel

\b
A drawn face, a sentence said by eSpeak NG and its words each carry part of a sentiment from -3 to
3; where voice and face both speak against the words, these mean the opposite. DIR/items.jsonl has
the label, that of each part, the speaker and a split that shares no sentence and no speaker,
DIR/README.md the best possible scores. A larger -n begins with the same clips; the same options
give the same bytes. The starter text and speech encoders are English."""

POSTS_EPILOG = """\b
Examples:
  mmcli data synth posts -o posts
  mmcli data synth posts -o few -n 200 --seed 7
  mmcli extract posts -o store --image efficientnet-lite0

\b
Short posts with a picture, about floods, fires, earthquakes, storms and other things.
DIR/items.jsonl has informative, event_type, damage and humanitarian (a list), the event (posts of
one share a split) and the whole truth, DIR/README.md the best possible macro-F1 from the picture,
the words and both. A larger -n begins with the same posts; the same options give the same bytes."""

Workers = Annotated[
    str, typer.Option("--workers", help="auto, or how many processes; no byte depends on it.")
]

app = typer.Typer(
    help="Make data whose truth is known, and the best possible scores on them.",
    epilog=EPILOG,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def kinds() -> None:
    """Make data whose truth is known, and the best possible scores on them."""


@app.command("scenes", epilog=SCENES_EPILOG)
def scenes(
    context: typer.Context,
    output: Output,
    n: Annotated[int, typer.Option("-n", "--n", help="Scenes, an even number.")] = 2000,
    speech: Annotated[
        bool, typer.Option("--speech", help="Say the captions too, by eSpeak NG.")
    ] = False,
    voices: Annotated[
        int | None, typer.Option("--voices", help="How many voices say them, 1 to 8. Default: 4.")
    ] = None,
    seed: Seed = 0,
    workers: Workers = "auto",
    force: Force = False,
    dry_run: DryRun = False,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Shapes whose captions differ only in who has what."""
    sink = Sink(quiet, verbose)
    if voices is not None and not speech:
        raise UsageError("`--voices` needs `--speech`", "add it, or leave both out")
    if voices is not None and voices < 1:
        raise UsageError(f"`--voices {voices}` are too few", "give 1 to 8")
    for line in describe_sources(context):
        sink.debug(line)
    said = 4 if voices is None else voices
    options = {"n": n, "seed": seed, "voices": said if speech else 0}
    _run(sink, "scenes", output, options, workers, force, dry_run, json)
    return 0


@app.command("streams", epilog=STREAMS_EPILOG)
def streams(
    context: typer.Context,
    output: Output,
    n: Annotated[int, typer.Option("-n", "--n", help="Recordings.")] = 600,
    rate: Annotated[int, typer.Option("--rate", help="Pictures a second, 1 to 30.")] = 4,
    seed: Seed = 0,
    workers: Workers = "auto",
    force: Force = False,
    dry_run: DryRun = False,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Recordings in which things happen at known times, heard, seen or both."""
    sink = Sink(quiet, verbose)
    for line in describe_sources(context):
        sink.debug(line)
    options = {"n": n, "seed": seed, "rate_hz": rate}
    _run(sink, "streams", output, options, workers, force, dry_run, json)
    return 0


@app.command("clips", epilog=CLIPS_EPILOG)
def clips(
    context: typer.Context,
    output: Output,
    n: Annotated[int, typer.Option("-n", "--n", help="Clips.")] = 2000,
    language: Annotated[
        str, typer.Option("--language", help="What is said and written: en or zh.")
    ] = "en",
    seed: Seed = 0,
    workers: Workers = "auto",
    force: Force = False,
    dry_run: DryRun = False,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """A face, a voice and words that each carry part of a sentiment."""
    sink = Sink(quiet, verbose)
    for line in describe_sources(context):
        sink.debug(line)
    options = {"n": n, "seed": seed, "language": language}
    _run(sink, "clips", output, options, workers, force, dry_run, json)
    return 0


@app.command("posts", epilog=POSTS_EPILOG)
def posts(
    context: typer.Context,
    output: Output,
    n: Annotated[int, typer.Option("-n", "--n", help="Posts.")] = 2000,
    seed: Seed = 0,
    workers: Workers = "auto",
    force: Force = False,
    dry_run: DryRun = False,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Posts whose picture and words tell of a crisis together."""
    sink = Sink(quiet, verbose)
    for line in describe_sources(context):
        sink.debug(line)
    _run(sink, "posts", output, {"n": n, "seed": seed}, workers, force, dry_run, json)
    return 0


app.command("planted", epilog=data_synth_planted.EPILOG)(data_synth_planted.planted)


def _run(
    sink: Sink,
    kind: str,
    output: str,
    options: dict[str, Any],
    workers: str,
    force: bool,
    dry_run: bool,
    json: bool,
) -> None:
    """What every kind does: run the workflow with a progress bar, print its report."""
    if workers != "auto" and not workers.isdecimal():
        raise UsageError(f"`--workers {workers}`", "give a number or auto")
    from mmcli.workflows.data.synth import SynthConfig, synth

    settings = SynthConfig(
        kind=kind,
        output=output,
        options=options,
        workers=None if workers == "auto" else int(workers),
        force=force,
        dry_run=dry_run,
    )
    with sink.counting(kind) as progress:
        report = synth(settings, progress)
    if json or dry_run or not sink.quiet:
        sink.report(report, json)
