"""The README of a set of made recordings: what it holds and how good one can be on it."""

from collections.abc import Mapping
from typing import Any

from mmcli.data.streams.timeline import KINDS

_TEXT = """\
# Streams

{n} recordings of 8 to 15 seconds with a moving picture each, made by
`mmcli data synth streams -n {n} --seed {seed}{more}`. In each, two to seven things happen at known
times: some are heard, some are seen, and four are told apart by both only. A bell or a horn sounds
while a lamp is lit red or blue, and each of the four pairs is a class.

| class | sound | picture | events |
| --- | --- | --- | --- |
{classes}
Events of one class never overlap, nor do two that light the lamp; all others may. Pitch, pace,
loudness (6 to 24 dB above the ground) and the ground itself (white, pink, rumble, hum, street)
differ from recording to recording, as do places, sizes and backdrop. In half of them a grey post
walks by, which means nothing.

## Files

- `items.jsonl`: one recording a row: `id`, `speech`, `image`, `duration_s`, `split`, and `events`,
  a list of `{{"class": "knock", "start_s": 1.25, "end_s": 2.9}}`.
- `speech/`: FLAC, 16 kHz, mono, {hours:.2f} hours in all.
- `image/`: animated PNG, 64 x 64, {rate_hz} pictures a second; picture k shows the time
  k / {rate_hz} s. Equal pictures are one that is shown longer; where nothing moves it is a still.
- `manifest.json`: every file with its sha256 (`mmcli verify` checks them), and the figures below.

Where mmcli wants a source, this directory stands for `items.jsonl`:

    mmcli finetune --task event DIR -o MODEL

## Splits

{splits}. The sha256 of seed and number decides, so a larger `-n` begins with the
same recordings.

## Best possible scores

Mean average precision, the same at every temporal IoU, of an ideal listener that perceives
everything there is to hear, to see, or both. Where two classes seem the same it names both, in
random order; average precision is then a little above the share of each, because it takes the best
precision of what follows.

| split | sound alone | pictures alone | both |
| --- | --- | --- | --- |
{best}
Pictures come {rate_hz} a second, so the times of what is only seen are known to {step_ms} ms.
"""


def describe(options: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The README, as Markdown."""
    rate_hz = options["rate_hz"]
    classes = [
        f"| {kind.name} | {kind.sound or '–'} | {kind.picture.replace('_', ' ') or '–'} "
        f"| {facts['events'][kind.name]} |\n"
        for kind in KINDS
    ]
    best = [
        f"| {split} | {found['sound']:.3f} | {found['pictures']:.3f} | {found['both']:.3f} |\n"
        for split, found in facts["best_map"].items()
    ]
    return _TEXT.format(
        n=options["n"],
        seed=options["seed"],
        more="" if rate_hz == 4 else f" --rate {rate_hz}",
        hours=facts["hours"],
        rate_hz=rate_hz,
        step_ms=round(1000 / rate_hz),
        classes="".join(classes),
        splits=", ".join(f"{name} {rows}" for name, rows in facts["splits"].items()),
        best="".join(best),
    )
