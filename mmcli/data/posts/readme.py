"""The README of a set of posts: what it holds and how good one can be on it."""

from collections.abc import Mapping
from typing import Any

from mmcli.data.posts.parts import LABEL_NOISE, MEMBER_NOISE

_TEXT = """\
# Posts

{n} short posts with a picture, about crises and other things, made by
`mmcli data synth posts -n {n} --seed {seed}`. Picture and words share what there is to know: which
crisis it is may be seen, or written, or both; whether it goes on now is written; what is broken is
seen, what is lost is written.

These are drawings and phrases put together at random, so the best possible score is known and a
program can be proved on them; they say nothing about people in need. No package of a registry that
we know of ships posts from real crises: CrisisMMD and the like have to be fetched from their
authors.

## Files

- `items.jsonl`: one post a row: `id`, `image`, `text`, and
  - `informative`: yes or no; `event_type`: flood, fire, earthquake, storm or none; `damage`: none,
    mild or severe, in this order; `humanitarian`: a list out of infrastructure_damage,
    injured_people and rescue;
  - `event`: which of the {events} events it belongs to (leave one out, or split by it), `split`;
  - the truth: `shows` (a crisis, house or unrelated) and `broken` (0 to 2) of the picture; `says`
    (a crisis or vague), `now`, `lost` (0 to 2) and `needs` of the words.
- `images/`: PNG, 224 x 224.
- `manifest.json`: every file with its sha256 (`mmcli verify` checks them), and the figures below.

Where mmcli wants a source, this directory stands for `items.jsonl`:

    mmcli extract DIR -o store --image efficientnet-lite0

## How the labels come about

- event_type: what is shown; else what is named, if it goes on now; else none.
- informative: yes where it goes on now and event_type is not none.
- damage: the worse of what is shown and what is said.
- humanitarian: none unless it goes on now; then infrastructure_damage where something is seen
  broken, and the need that is told.

Then each of the first three is another one of its classes in {noise} of the rows, and each member
of the list is there when it should not be, or the other way about, in {member_noise}.

## Splits

{splits}.
All posts of an event are in one split. The words often name its place, whose every post is about
one kind of crisis or none: within known events the name gives the kind away, in a new one it tells
nothing. Phrases are shared. A larger `-n` begins with the same posts.

## Best possible scores

Macro-F1 of whoever reads the picture, the words or both exactly and nothing else: the best trade
between the classes, by the model that drew the rows. `expected` is over all that can be drawn, the
others are on the rows of a split, where luck can lift another rule above it a little.
`manifest.json` has accuracy too.

| label | read | {parts} |
| --- | --- |{dashes}
{ceilings}"""


def describe(options: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The README, as Markdown."""
    parts = ("expected", *facts["splits"])
    ceilings = [
        f"| {label} | {read} | {' | '.join(_figure(scores[p]['macro_f1']) for p in parts)} |\n"
        for label, found in facts["ceilings"].items()
        for read, scores in found.items()
    ]
    return _TEXT.format(
        n=options["n"],
        seed=options["seed"],
        events=facts["events"],
        noise=LABEL_NOISE,
        member_noise=MEMBER_NOISE,
        splits=", ".join(f"{name} {rows}" for name, rows in facts["splits"].items()),
        parts=" | ".join(parts),
        dashes=" --- |" * len(parts),
        ceilings="".join(ceilings),
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
