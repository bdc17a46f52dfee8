"""Data against a model: one line that names the row, before anything is learned or written."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmcli.core.errors import BadInput, MissingResource, UsageError
from mmcli.data.messages import Turn
from mmcli.tasks.generative.checking import check_rows
from mmcli.tasks.generative.examples import Example
from mmcli.tasks.generative.loading import find_base, load_network, speak
from mmcli.tasks.generative.pictures import sizes_of
from mmcli.tasks.generative.registry import FAMILIES
from mmcli.tasks.generative.tokens import fill
from mmcli.workflows.finetune.generative.run import run
from tests.tasks.generative.making import config, lines, paint, rows, table, tiny


def refused(told: Any) -> str:
    """The message of a run that ends before it writes anything."""
    with pytest.raises(BadInput) as error:
        run(told)
    assert not Path(told.output).exists()
    assert error.value.hint
    return error.value.message


def changed(folder: Path, number: int, **values: Any) -> Path:
    """Nine rows, one of them other than it should be."""
    table(folder, rows(9))
    made = rows(9)
    made[number] |= values
    return lines(folder / "data.jsonl", made)


def test_a_prompt_longer_than_the_model_is_named_with_its_length(tmp_path: Path) -> None:
    data = changed(tmp_path, 4, text="what colour is the circle ? " * 60)
    message = refused(config(data, tmp_path / "model", "llava"))
    # 6 words 60 times, 4 places of the picture, 4 of the template; `red </s>`
    assert message == (
        f"{data}:row 5 (id 00000004): prompt and answer are 368 + 2 tokens, 4 of them of its"
        f" images; `local:{tiny('llava')}` takes 256"
    )


def test_so_is_an_answer_longer_than_the_decoder(tmp_path: Path) -> None:
    data = changed(tmp_path, 2, answer="red " * 130)
    message = refused(config(data, tmp_path / "model", "florence-2"))
    assert message == (
        f"{data}:row 3 (id 00000002): the answer is 132 tokens; `local:{tiny('florence-2')}`"
        " writes 128"
    )


def test_lengths_are_those_of_the_real_tokens(tmp_path: Path) -> None:
    """The quick count, by sizes alone, against rows with their pictures in them."""
    for name in ("smolvlm", "qwen2-vl", "blip-2-opt"):
        base = find_base(f"local:{tiny(name)}")
        dialect = speak(base, "vqa")
        made, expected = [], []
        for number, size in enumerate([(56, 28), (28, 28), (120, 30)]):
            path = tmp_path / f"{number}.png"
            Image.new("RGB", size, "red").save(path)
            one = Example(
                str(number), f"f:{number}", (str(path),), (Turn("user", "<image>where?"),), "left"
            )
            row = fill(dialect.line(one, True), [dialect.picture(Image.open(path))])
            made.append(one)
            expected.append(len(row.source) + len(row.target))
        found = check_rows(base, dialect, made, 2, answered=True)
        assert (found.total, found.most) == (sum(expected), max(expected))
        assert found.longest == f"f:{expected.index(max(expected))}"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"answer": ""}, "its `answer` is empty"),
        ({"text": " "}, "it has no question"),
        ({"image": None}, "it has no image"),
        ({"image": "gone.png"}, 'gone.png" does not exist'),
    ],
)
def test_what_a_row_lacks_is_said(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    data = changed(tmp_path, 7, **values)
    message = refused(config(data, tmp_path / "model", "llava"))
    assert message.startswith(f"{data}:row 8 (id 00000007): ")
    assert message.endswith(said)


def test_a_picture_that_breaks_off_is_found_before_the_first_step(tmp_path: Path) -> None:
    data = table(tmp_path, rows(9))
    Image.effect_noise((200, 200), 90).convert("RGB").save(tmp_path / "6.png", "JPEG")
    content = (tmp_path / "6.png").read_bytes()
    (tmp_path / "6.png").write_bytes(content[: len(content) // 2])
    message = refused(config(data, tmp_path / "model", "llava"))
    assert message.startswith(f'{data}:row 7 (id 00000006): image "{tmp_path}/6.png" cannot be')


def test_pictures_on_their_side_are_measured_upright(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    picture = Image.new("RGB", (40, 20), "red")
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)
    one = Example("0", "f:1", (str(path),), (Turn("user", "<image>?"),))
    assert sizes_of([one], 1) == [((20, 40),)]


def test_a_row_with_two_pictures_does_not_fit_a_family_that_takes_one(tmp_path: Path) -> None:
    for number in range(2):
        paint(tmp_path, number, "red")
    turns = [
        {"role": "user", "content": "<image><image>where is it?"},
        {"role": "assistant", "content": "left"},
    ]
    data = lines(tmp_path / "talk.jsonl", [{"messages": turns, "images": ["0.png", "1.png"]}] * 3)
    message = refused(config(data, tmp_path / "model", "blip-vqa"))
    assert message == f"{data}:1: 2 images, `local:{tiny('blip-vqa')}` takes 1"


# -- the model itself ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "kind", "said"),
    [
        ("local:/nowhere/at/all", MissingResource, "there is no such directory"),
        ("Qwen/Qwen2-VL-2B-Instruct", UsageError, "names no model"),
        ("hf:Qwen", UsageError, "is not a model of the hub"),
        ("timm:resnet50", UsageError, "names no model"),
    ],
)
def test_references_that_name_nothing(model: str, kind: Any, said: str, tmp_path: Path) -> None:
    told = replace(config(tmp_path, tmp_path / "model", "llava"), model=model)
    with pytest.raises(kind, match=said) as error:
        run(told)
    assert error.value.hint


def test_without_a_network_the_hub_is_exit_4_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingResource, match="the hub was not reached") as error:
        find_base(f"hf:{FAMILIES.get('smolvlm').hub}")
    assert error.value.exit_code == 4
    assert "local:DIR" in error.value.hint


def test_models_that_write_no_text_are_named(tmp_path: Path) -> None:
    import json

    folder = shutil.copytree(tiny("llava"), tmp_path / "model")
    content = json.loads((folder / "config.json").read_text())
    for change, said in (
        ({"model_type": "bert"}, "models of type `bert` do not write text from pictures"),
        ({"architectures": ["LlavaModel"]}, "is a LlavaModel, which writes no answers"),
        ({"auto_map": {"AutoModel": "own.Model"}}, "needs code of its own, which is never run"),
    ):
        (folder / "config.json").write_text(json.dumps(content | change))
        with pytest.raises((UsageError, BadInput), match=said):
            find_base(f"local:{folder}")


def test_a_model_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    """Else they would be random: a captioner loaded as an answerer has half of what it needs."""
    import json

    folder = shutil.copytree(tiny("blip-caption"), tmp_path / "model")
    content = json.loads((folder / "config.json").read_text())
    content["architectures"] = ["BlipForQuestionAnswering"]
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match=r"weights of a BlipForQuestionAnswering are not in it"):
        load_network(find_base(f"local:{folder}"), "float32", "cpu")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"task": "sentiment"}, "writes no text"),
        ({"method": "early"}, "`--method` is not of a generative model"),
        ({"seeds": 3}, "`--seeds` is not of a generative model"),
        ({"tricks": {"mixup": 0.2}}, "`--mixup` is not of a generative model"),
        ({"options": {"max_tokens": "3"}}, "`--set max_tokens` is unknown"),
        ({"options": {"beams": "many"}}, "`--set beams=many`"),
        ({"metric": "cider_d"}, "`--metric cider_d` is not of vqa"),
        ({"strategy": {"": "adapters"}}, "does not fit a vision-language model"),
        ({"strategy": {"": "lorra"}}, "no tuning strategy is named `lorra`"),
        ({"strategy": {"speech": "full"}}, "`speech` is no part of a vision-language model"),
        ({"strategy": {"": "frozen"}}, "nothing of llava would learn"),
        ({"strategy": {"": "bitfit"}}, "it has no biases"),
    ],
)
def test_options_that_do_not_fit(more: dict[str, Any], said: str, tmp_path: Path) -> None:
    told = config(table(tmp_path, rows(9)), tmp_path / "model", "llava", **more)
    with pytest.raises(UsageError, match=said):
        run(told)
    assert not (tmp_path / "model/manifest.json").exists()


def test_blip_has_no_connector_to_probe(tmp_path: Path) -> None:
    told = config(tmp_path, tmp_path / "model", "blip-vqa", strategy={"": "probe"})
    with pytest.raises(UsageError, match="nothing of blip would learn"):
        run(told)
