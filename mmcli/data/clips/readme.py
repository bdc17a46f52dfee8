"""The README of a set of clips: what it holds and how good one can be on it."""

from collections.abc import Mapping
from typing import Any

from mmcli.data.clips.ceilings import MEASURES
from mmcli.data.clips.parts import (
    AGREE,
    ANNOTATORS,
    AT_ODDS,
    FREE,
    OPINION_NOISE,
    TURNED_FROM,
    WEIGHTS,
)

_TEXT = """\
# Clips

{n} clips of a drawn face, a spoken sentence and its words, made by
`mmcli data synth clips -n {n} --seed {seed}{more}`. Each of the three carries a part of one
sentiment: the words by their meaning, the voice by pitch, pitch range, pace and loudness, the face
by mouth, brows and eyes.

These are drawings and a speech synthesiser, so the best possible score is known and a program can
be proved on them; they say nothing about people. No package of a registry that we know of ships
acted emotional speech; CMU-MOSI, CH-SIMS and the like have to be fetched from their authors.

## Files

- `items.jsonl`: one clip a row: `id`, `image`, `text`, `speech`, and
  - `sentiment`: the label, from -3 to 3;
  - `sentiment_text`, `sentiment_speech`, `sentiment_image`: the level of each part, -3 to 3,
    without noise;
  - `sarcasm`: whether words mean the opposite because voice and face both speak against them
    ({sarcastic} rows);
  - `speaker`, `split`.
- `images/`: PNG, 224 x 224. `speech/`: WAV, 16 kHz, 1 to 4 seconds, said by eSpeak NG.
- `manifest.json`: every file with its sha256 (`mmcli verify` checks them), and the figures below.

Where mmcli wants a source, this directory stands for `items.jsonl`:

    mmcli extract DIR -o store --speech whisper-tiny-en --speech logmel

## How the label comes about

In {agree} of the rows the three levels follow one mood, in {free} each is drawn on its own, and in
{at_odds} voice and face speak against the words. What the parts make together is

    {text} x words + {speech} x voice + {image} x face

where the words' part is multiplied by 1 - 2c: c is 0 unless voice and face are both on the other
side, 0.5 where the weaker of them is at level 1, and 1 from level {turned} on. {annotators}
annotators each add Gaussian noise of deviation {noise} and round to a level from -3 to 3; the label
is their mean.

## Splits

{splits}.
No sentence and no speaker of one split is in another: a speaker belongs to a split, and a sentence
goes by the sha256 of its text. The phrases that sentences are made of are shared, so whoever has
seen all phrases can read every text. A larger `-n` begins with the same clips.

## Best possible scores

Of whoever reads the named parts exactly and nothing else, by the rule that is best by the model
that drew the rows: the mean of the labels to expect (pearson), their median (mae), their likelier
side (has0_accuracy, non0_accuracy). `expected` is over all that can be drawn; `test` is on these
rows, where luck can lift another rule above it a little. `speech` is the prosody alone: whoever
also makes out what is said hears `text+speech`.

| parts read | rows | {measures} |
| --- | --- |{dashes}
{ceilings}"""


def describe(options: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The README, as Markdown."""
    ceilings = [
        f"| {seen} | {rows} | {' | '.join(_figure(scores[rows][name]) for name in MEASURES)} |\n"
        for seen, scores in facts["ceilings"].items()
        for rows in ("expected", "test")
        if rows in scores
    ]
    return _TEXT.format(
        n=options["n"],
        seed=options["seed"],
        more="" if options["language"] == "en" else f" --language {options['language']}",
        sarcastic=facts["sarcastic"],
        agree=AGREE,
        free=FREE,
        at_odds=AT_ODDS,
        **WEIGHTS,
        turned=TURNED_FROM,
        annotators=ANNOTATORS,
        noise=OPINION_NOISE,
        splits=", ".join(f"{name} {rows}" for name, rows in facts["splits"].items()),
        measures=" | ".join(MEASURES),
        dashes=" --- |" * len(MEASURES),
        ceilings="".join(ceilings),
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
