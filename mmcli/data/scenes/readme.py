"""The README of a set of scenes: what it holds and how good one can be on it."""

from collections.abc import Mapping
from typing import Any

_TEXT = """\
# Scenes

{n} pictures of one to three shapes, made by `mmcli data synth scenes -n {n} --seed {seed}{more}`.
Every scene has a partner (`pair_id`) whose caption has the same words bound to each other
differently: "a large red striped circle to the left of a small blue plain square" and "a large
blue striped circle to the left of a small red plain square". Whoever knows the words and not who
has which attribute cannot tell the two apart. `swap` says what the partners exchange: colour, size,
texture, shape, or position; a single shape exchanges it with its background.

A caption names all that is in its picture, so a picture fits a caption if and only if its own
caption is the same text. The pictures of a pair differ in everything that captions leave open.

## Files

- `items.jsonl`: one scene a row: `id`, `image`, `text`{spoken}, `pair_id`, `split`, `swap`,
  `n_objects`, `layout`, `backdrop`, `background_colour`, `background_texture`, and for the objects
  1 to 3, in the caption's order, `colour_1`, `size_1`, `texture_1`, `shape_1`, and their centre and
  width in pixels: `x_1`, `y_1`, `width_1`.
- `questions.jsonl`: `id`, `image`, `question`, `answer`, `type`, `scene`, `pair_id`, `split`. Both
  partners are asked the same; every yes-no question is answered once by yes and once by no.
- `images/`: PNG, 224 x 224.{recordings}
- `manifest.json`: every file with its sha256 (`mmcli verify` checks them), and the figures below.

Where mmcli wants a source, this directory stands for `items.jsonl`:

    mmcli extract DIR -o store --sequence
    mmcli extract DIR/questions.jsonl -o questions --map text=question

## Splits

{splits}.
The words of a caption in alphabetical order decide, by their sha256, so that pairs, and captions of
equal words, never cross. A larger `-n` begins with the same scenes.

## Best possible scores

Retrieval, text to image or image to text, expected hit@1 over the rows of a split:

| rows | number | own row | any row of the caption | by words without order |
| --- | --- | --- | --- | --- |
{retrieval}
The first is below 1 where a caption occurs twice, the last is the ceiling of a bag of words. Which
of the two partners is meant is 0.5 for it, whatever it learns.

Questions, accuracy of the best guess from the question alone, knowing how often each of its answers
occurs in this table (with the picture: 1):

| type | number | question only |
| --- | --- | --- |
{questions}"""


def describe(options: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The README, as Markdown."""
    voices = options["voices"]
    retrieval = [
        f"| {name} | {best['rows']} | {best['by_row']:.3f} | {best['by_caption']:.3f} "
        f"| {best['bag_of_words']:.3f} |\n"
        for name, best in facts["retrieval"].items()
    ]
    questions = [
        f"| {name} | {best['rows']} | {best['question_only']:.3f} |\n"
        for name, best in facts["questions"].items()
    ]
    return _TEXT.format(
        n=options["n"],
        seed=options["seed"],
        more=f" --speech --voices {len(voices)}" if voices else "",
        spoken=", `speech`, `voice`" if voices else "",
        recordings=(
            f"\n- `speech/`: the captions as FLAC, said by eSpeak NG: {', '.join(voices)}."
            if voices
            else ""
        ),
        splits=", ".join(f"{name} {rows}" for name, rows in facts["splits"].items()),
        retrieval="".join(retrieval),
        questions="".join(questions),
    )
