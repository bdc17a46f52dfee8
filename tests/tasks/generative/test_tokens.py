"""Tokens: as the real processors make them, learned where they are answers, alike in any batch."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmcli.core.errors import BadInput
from mmcli.data.messages import Turn
from mmcli.tasks.generative.examples import Example
from mmcli.tasks.generative.loading import find_base, load_network, speak
from mmcli.tasks.generative.tokens import (
    IGNORED,
    Dialect,
    Filled,
    Writing,
    collate,
    fill,
    in_passes,
    token_losses,
)
from tests.tasks.generative.making import tiny
from tests.tasks.generative.tiny_parts import torch, transformers
from tests.tasks.generative.tiny_vlms import BUILDERS

PICTURES = [
    Image.effect_noise((44, 40), 90).convert("RGB"),
    Image.effect_noise((30, 62), 90).convert("RGB"),
    Image.new("RGB", (28, 28), (200, 30, 30)),
]
SAID = [
    ("what colour is the circle?", "red"),
    ("where is it?", "on the left"),
    ("how many circle on the left?", "two"),
]


def example(question: str, answer: str, *earlier: str, written: bool = False) -> Example:
    """One with one picture; earlier: turns before, the user's first."""
    turns = [Turn(("user", "assistant")[i % 2], text) for i, text in enumerate(earlier)]
    mark = "" if earlier else "<image>"
    return Example(
        "0", "f.jsonl:1", ("a.png",), (*turns, Turn("user", mark + question)), answer, (answer,),
        written,
    )  # fmt: skip


def filled(dialect: Dialect, one: Example, picture: Any, answered: bool = True) -> Filled:
    return fill(dialect.line(one, answered), [dialect.picture(picture)])


@pytest.mark.parametrize("name", BUILDERS)
def test_a_prompt_is_what_the_family_s_own_processor_makes_of_it(name: str) -> None:
    base = find_base(f"local:{tiny(name)}")
    processor, dialect = base.processor, speak(base, "vqa")
    question, answer = SAID[0]
    mine = filled(dialect, example(question, answer), PICTURES[0])
    if base.family.chat:
        words = [{"type": "image"}, {"type": "text", "text": question}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": words}], add_generation_prompt=True, tokenize=False
        )
        theirs = processor(text=[text], images=[PICTURES[0]], return_tensors="pt")
    else:
        prompt = base.family.prompt("vqa").replace("{question}", question)
        text = f"<image>{prompt}" if name == "paligemma" else prompt
        theirs = processor(text=text, images=PICTURES[0], return_tensors="pt")
    expected = theirs["input_ids"][0].tolist()
    if name == "blip-caption":  # the model itself exchanges the first and drops the last
        expected = [dialect.start, *expected[1:-1]]
    assert list(mine.source) == expected
    batch = collate([mine], dialect, answered=False)
    for key, value in batch.inputs.items():
        if key not in ("input_ids", "attention_mask", "token_type_ids"):
            assert torch.equal(value, theirs[key]), key
    assert dialect.tokenizer.decode(mine.target, skip_special_tokens=True).strip() == answer
    assert mine.target[-1] in dialect.stops


@pytest.mark.parametrize("name", BUILDERS)
def test_rows_are_alike_alone_and_in_a_batch(name: str) -> None:
    base = find_base(f"local:{tiny(name)}")
    dialect = speak(base, "vqa")
    network = load_network(base, "float32", "cpu")
    rows = [
        filled(dialect, example(*said), picture)
        for said, picture in zip(SAID, PICTURES, strict=True)
    ]
    asked = [
        filled(dialect, example(*said), picture, answered=False)
        for said, picture in zip(SAID, PICTURES, strict=True)
    ]
    lengths = [(len(row.source), len(row.source) + len(row.target)) for row in rows]
    with torch.no_grad():
        alone = [_loss(network, dialect, [row]) for row in rows]
        together = [
            _loss(network, dialect, [rows[i] for i in mine])
            for mine in in_passes(lengths, 3, dialect.pads)
        ]
        assert sum(together) == pytest.approx(sum(alone), rel=1e-5)
        said_alone = [_write(network, dialect, [row])[0] for row in asked]
        said_together: dict[int, list[int]] = {}
        for mine in in_passes([(n, n) for n, _ in lengths], 3, dialect.pads):
            said_together |= dict(
                zip(mine, _write(network, dialect, [asked[i] for i in mine]), strict=True)
            )
    assert [said_together[i] for i in range(3)] == said_alone


def _loss(network: Any, dialect: Dialect, rows: list[Filled]) -> float:
    batch = collate(rows, dialect, answered=True)
    return float(token_losses(dialect.logits(network, batch.inputs), batch.labels))


def _write(network: Any, dialect: Dialect, rows: list[Filled]) -> list[list[int]]:
    return dialect.write(network, collate(rows, dialect, answered=False).inputs, Writing(5))


@pytest.mark.parametrize("name", ["llava", "qwen3-vl", "smolvlm", "paligemma", "florence-2"])
def test_the_loss_is_that_of_transformers_on_the_same_labels(name: str) -> None:
    base = find_base(f"local:{tiny(name)}")
    dialect = speak(base, "vqa")
    network = load_network(base, "float32", "cpu")
    batch = collate([filled(dialect, example(*SAID[1]), PICTURES[1])], dialect, answered=True)
    labels = batch.labels
    if dialect.layout == "joint":  # theirs are not moved by one yet
        labels = torch.full_like(labels, IGNORED)
        labels[:, 1:] = batch.labels[:, :-1]
    with torch.no_grad():
        theirs = network(**batch.inputs, labels=labels).loss
        mine = token_losses(dialect.logits(network, batch.inputs), batch.labels)
    assert float(mine) / batch.n_labels == pytest.approx(float(theirs), rel=1e-5)
    # on the left, and what ends the answer; Florence-2 begins it with <s>
    assert batch.n_labels == (5 if name == "florence-2" else 4)


def test_smoothing_spreads_a_share_over_all_words() -> None:
    logits, labels = torch.zeros(1, 2, 4), torch.tensor([[1, IGNORED]])
    logits[0, 0, 1] = 3.0
    p = torch.softmax(logits[0, 0], 0)
    expected = -(0.8 * p[1].log() + 0.2 * p.log().mean())
    assert float(token_losses(logits, labels, 0.2)) == pytest.approx(float(expected))


def test_only_answers_are_learned_each_of_them_in_a_long_conversation() -> None:
    dialect = speak(find_base(f"local:{tiny('qwen2-vl')}"), "vqa")
    one = example("where is it?", "left", "<image>what colour is it?", "red", written=True)
    row = filled(dialect, one, PICTURES[0])
    every = (*row.source, *row.target)
    learned = [token for token, yes in zip(every, row.learned, strict=True) if yes]
    assert dialect.tokenizer.decode(learned).split() == ["red", "<|im_end|>", "left", "<|im_end|>"]


def test_a_template_that_ends_no_turn_gets_the_end_of_text() -> None:
    """LLaVA 1.5's: earlier answers are learned without an end, the last one with it."""
    dialect = speak(find_base(f"local:{tiny('llava')}"), "vqa")
    one = example("where is it?", "left", "<image>what colour is it?", "red", written=True)
    row = filled(dialect, one, PICTURES[0])
    every = (*row.source, *row.target)
    learned = [token for token, yes in zip(every, row.learned, strict=True) if yes]
    assert dialect.tokenizer.decode(learned).split() == ["red", "left", "</s>"]


def test_an_answer_may_not_hold_what_ends_it() -> None:
    dialect = speak(find_base(f"local:{tiny('qwen2-vl')}"), "vqa")
    with pytest.raises(BadInput, match=r"f\.jsonl:1: the answer holds a token that ends"):
        dialect.line(example("where is it?", "left <|im_end|> right"), True)


def test_a_mark_of_a_picture_in_the_words_is_found() -> None:
    dialect = speak(find_base(f"local:{tiny('qwen2-vl')}"), "vqa")
    with pytest.raises(BadInput, match=r"f\.jsonl:1: .* writes 2 places for 1 images"):
        dialect.line(example("what is <|image_pad|> ?", "left"), True)


@pytest.mark.parametrize("name", ["blip-vqa", "blip-2-opt", "florence-2", "paligemma"])
def test_families_without_a_template_take_one_question(name: str) -> None:
    dialect = speak(find_base(f"local:{tiny(name)}"), "vqa")
    one = example("where is it?", "left", "<image>what colour is it?", "red", written=True)
    with pytest.raises(BadInput, match=r"f\.jsonl:1: 3 turns before the answer"):
        dialect.line(one, True)


def test_own_words_are_the_question_of_a_prompt_that_has_a_place_for_one() -> None:
    base = find_base(f"local:{tiny('paligemma')}")
    one = example("where is it?", "left", written=True)
    decode = base.processor.tokenizer.decode
    asked = decode([token for token in speak(base, "vqa").line(one, True).source if token >= 0])
    told = decode([token for token in speak(base, "caption").line(one, True).source if token >= 0])
    assert asked.split() == ["<bos>", "answer", "en", "where", "is", "it", "?"]
    assert told.split() == ["<bos>", "caption", "en"]


def test_pictures_of_smolvlm_may_be_cut_into_different_numbers_of_tiles() -> None:
    """A wide picture has other tiles than a square one, and a row may have none at all."""
    base = find_base(f"local:{tiny('smolvlm')}")
    dialect = speak(base, "vqa")
    network = load_network(base, "float32", "cpu")
    wide, square = Image.effect_noise((56, 28), 90).convert("RGB"), PICTURES[2]
    rows = [filled(dialect, example(*SAID[0]), picture) for picture in (wide, square)]
    two = Example("1", "f:2", ("a", "b"), (Turn("user", "<image><image>where is it?"),), "left")
    rows.append(fill(dialect.line(two, True), [dialect.picture(wide), dialect.picture(square)]))
    none = Example("2", "f:3", (), (Turn("user", "where is it?"),), "left")
    rows.append(fill(dialect.line(none, True), []))
    assert len({len(row.source) for row in rows}) == 4
    with torch.no_grad():
        alone = sum(_loss(network, dialect, [row]) for row in rows)
        assert _loss(network, dialect, rows) == pytest.approx(alone, rel=1e-5)


def test_a_model_without_a_template_is_refused(tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(tiny("llava"), tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(BadInput, match="has no chat template"):
        speak(find_base(f"local:{folder}"), "vqa")


def test_stops_are_those_of_the_model_the_tokenizer_and_the_template() -> None:
    dialect = speak(find_base(f"local:{tiny('smolvlm')}"), "vqa")
    names = dialect.tokenizer.convert_ids_to_tokens(list(dialect.stops))
    assert names == ["<end_of_utterance>"]
    assert transformers.GenerationConfig.from_pretrained(tiny("smolvlm")).eos_token_id == 2


def test_an_answer_is_tokenised_as_it_stands_behind_its_prompt(tmp_path: Path) -> None:
    """Llama's tokenizer writes a space before a text that stands alone: two would be learned."""
    import shutil

    from tokenizers import Tokenizer, decoders, models, normalizers

    folder = shutil.copytree(tiny("llava"), tmp_path / "model")
    core = Tokenizer.from_file(str(folder / "tokenizer.json"))
    letters = [*"abcdefghijklmnopqrstuvwxyz:?.", "▁", "<unk>", "<s>", "</s>", "<pad>", "<image>"]
    words = ["▁▁", "▁r", "▁▁r"]
    merges = [("▁", "▁"), ("▁", "r"), ("▁▁", "r")]
    vocab = {piece: number for number, piece in enumerate([*letters, *words])}
    core.model = models.BPE(vocab, merges, unk_token="<unk>")
    core.pre_tokenizer = None
    core.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    core.decoder = decoders.Replace("▁", " ")
    core.save(str(folder / "tokenizer.json"))
    dialect = speak(find_base(f"local:{folder}"), "vqa")
    line = dialect.line(example("what?", "red"), True)
    assert dialect.tokenizer.convert_ids_to_tokens(line.target) == ["▁r", "e", "d", "</s>"]
