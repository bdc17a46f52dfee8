"""`mmcli data synth planted`: a store of vectors that tell their labels up to a known accuracy."""

from contextlib import ExitStack
from typing import Annotated

import typer

from mmcli.cli.options import (
    Config,
    Force,
    Json,
    Quiet,
    Verbose,
    describe_sources,
    words_of,
)
from mmcli.cli.output import Sink
from mmcli.cli.synth_options import DryRun, Output, Seed
from mmcli.core.errors import UsageError

EPILOG = """\b
Examples:
  mmcli data synth planted -o planted
  mmcli data synth planted -o xor --synergistic 1 -n 20000
  mmcli data synth planted -o gaps --modalities 3 --dims 64,32,16 --missing 0.2
  mmcli data synth planted -o mixed --redundant 0.5 --synergistic 0.5 --seed 7

\b
STORE holds a vector of each modality and the columns label (no, yes), kind and split. A row is of
one kind:
  redundant      every modality shows the same bit, which is the label
  complementary  one modality shows it, and which one differs from row to row
  noisy          each shows it, wrong by --bit-noise on its own; three or more can vote
  synergistic    every modality shows a random bit; only their parity is the label
In all kinds but noisy the label is wrong by --label-noise, which no fusion can mend. The report and
manifest.json have the best possible accuracy from each set of modalities, in all and by kind. The
same options give the same bytes."""

#: Widths of the modalities where none are given, in turn.
_DIMS = (32, 16)


def _share(flag: str, what: str) -> object:
    return typer.Option(flag, help=f"Share of rows {what}. Default: 0.25, or 0 beside another.")


def planted(
    context: typer.Context,
    output: Output,
    n: Annotated[int, typer.Option("-n", "--n", help="Rows.")] = 10_000,
    modalities: Annotated[
        int, typer.Option("--modalities", help="2 to 6: image, text, speech, video, image:m5 …")
    ] = 2,
    dims: Annotated[
        list[str] | None,
        typer.Option("--dims", help="Width of each, or of all. Default: 32,16 in turn."),
    ] = None,
    redundant: Annotated[float | None, _share("--redundant", "in which all show the bit")] = None,
    complementary: Annotated[
        float | None, _share("--complementary", "in which one modality shows the bit")
    ] = None,
    noisy: Annotated[
        float | None, _share("--noisy", "in which each shows it wrong at times")
    ] = None,
    synergistic: Annotated[
        float | None, _share("--synergistic", "in which only the parity tells")
    ] = None,
    label_noise: Annotated[
        float,
        typer.Option("--label-noise", help="How often the label is wrong; not in noisy rows."),
    ] = 0.1,
    bit_noise: Annotated[
        float, typer.Option("--bit-noise", help="How often a modality of a noisy row is wrong.")
    ] = 0.2,
    noise: Annotated[
        float, typer.Option("--noise", help="Deviation of every coordinate; a bit is 1 high.")
    ] = 0.1,
    missing: Annotated[
        float, typer.Option("--missing", help="Share of parts that are absent, at random.")
    ] = 0.0,
    test_fraction: Annotated[
        float, typer.Option("--test-fraction", help="Share of rows of the split test.")
    ] = 0.4,
    val_fraction: Annotated[
        float, typer.Option("--val-fraction", help="Share of rows of the split val.")
    ] = 0.1,
    seed: Seed = 0,
    force: Force = False,
    dry_run: DryRun = False,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Vectors that tell a label alone, or only together."""
    sink = Sink(quiet, verbose)
    for line in describe_sources(context):
        sink.debug(line)
    widths = _widths(dims, modalities)
    given = (redundant, complementary, noisy, synergistic)
    shares = tuple(share or 0.0 for share in given)
    if all(share is None for share in given):
        shares = (0.25, 0.25, 0.25, 0.25)
    from mmcli.data.planted.model import Planted
    from mmcli.workflows.data.planted import PlantedConfig, plant

    settings = PlantedConfig(
        output,
        Planted(
            n,
            widths,
            shares,
            label_noise=label_noise,
            bit_noise=bit_noise,
            noise=noise,
            missing=missing,
            test_fraction=test_fraction,
            val_fraction=val_fraction,
            seed=seed,
        ),
        force=force,
        dry_run=dry_run,
    )
    with ExitStack() as stack:
        report = plant(settings, stack.enter_context(sink.counting("planted")))
    if json:
        sink.report(report, as_json=True)
    elif dry_run or not quiet:
        ceilings = report.pop("ceilings")
        best = ceilings.pop("accuracy")
        sink.report({**report, "ceilings": ceilings}, as_json=False)
        sink.rows(({"best accuracy": name, **figures} for name, figures in best.items()), "table")
    return 0


def _widths(dims: list[str] | None, modalities: int) -> tuple[int, ...]:
    """The width of each modality. Raises UsageError when there are not as many as modalities."""
    words = words_of(dims)
    for word in words:
        if not word.isdecimal():
            raise UsageError(f"`--dims {word}` is no width", "as in 32,16")
    given = tuple(int(word) for word in words)
    if len(given) < 2:
        return tuple((given or _DIMS)[place % len(given or _DIMS)] for place in range(modalities))
    if len(given) != modalities:
        raise UsageError(
            f"`--dims` has {len(given)} widths, `--modalities` is {modalities}",
            f"add `--modalities {len(given)}`, or give one width for all",
        )
    return given
