"""Conversations as ms-swift, LLaMA-Factory and LLaVA write them; what is wrong with a row."""

import json
from pathlib import Path
from typing import Any

import pytest

from mmcli.core.errors import BadInput
from mmcli.data.messages import Turn, fingerprint, is_messages, read_messages
from tests.conftest import picture

ASKED = {"role": "user", "content": "<image>what is it?"}
SAID = {"role": "assistant", "content": "a cat"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "sub/c.png"):
        picture(tmp_path / name, 1)
    return tmp_path


def written(folder: Path, *rows: Any, name: str = "data.jsonl") -> Path:
    path = folder / name
    text = json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows))
    path.write_text(text, encoding="utf-8")
    return path


def test_messages_of_ms_swift_and_llama_factory(folder: Path) -> None:
    row = {
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "<image>and <image>: which is a cat?"},
            {"role": "assistant", "content": "the first"},
            {"role": "user", "content": "why?"},
            {"role": "assistant", "content": "ears"},
        ],
        "images": ["a.jpg", {"path": "sub/c.png"}],
        "split": "train",
        "weight": 2,
        "objects": {"bbox": []},
    }
    path = written(folder, row, {"messages": [dict(ASKED, content="who are you?"), SAID]})
    one, plain = read_messages(path)
    assert [turn.role for turn in one.turns] == ["system", "user", "assistant", "user", "assistant"]
    assert one.turns[1].text == "<image>and <image>: which is a cat?"
    assert one.images == (str(folder / "a.jpg"), str(folder / "sub/c.png"))
    assert (one.where, plain.where) == (f"{path}:1", f"{path}:2")
    assert dict(one.extra) == {"split": "train", "weight": 2}
    assert (one.id, plain.id) == ("00000000", "00000001")
    assert plain.images == ()
    assert one.answered


def test_sharegpt_of_llava(folder: Path) -> None:
    row = {
        "id": "000000033471",
        "image": "a.jpg",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat is it?"},
            {"from": "gpt", "value": "A cat."},
        ],
    }
    for name in ("llava.json", "llava.jsonl"):
        path = written(folder, row, name=name)
        assert is_messages(path)
        (one,) = read_messages(path)
        assert one.turns == (Turn("user", "<image>\nWhat is it?"), Turn("assistant", "A cat."))
        assert one.id == "000000033471"


def test_ids_that_repeat_are_kept_beside_row_numbers(folder: Path) -> None:
    row = {"id": "x", "messages": [ASKED, SAID], "images": ["a.jpg"]}
    found = read_messages(written(folder, row, row))
    assert [one.id for one in found] == ["00000000", "00000001"]
    assert [one.extra["source_id"] for one in found] == ["x", "x"]


def test_contents_may_be_lists_of_pieces(folder: Path) -> None:
    content = [
        {"type": "image", "image": "a.jpg"},
        {"type": "text", "text": "and"},
        {"type": "image_url", "image_url": {"url": "file://" + str(folder / "b.jpg")}},
        {"type": "text", "text": "?"},
    ]
    path = written(folder, {"messages": [{"role": "user", "content": content}, SAID]})
    (one,) = read_messages(path)
    assert one.turns[0].text == "<image>and<image>?"
    assert one.images == (str(folder / "a.jpg"), str(folder / "b.jpg"))


def test_a_system_s_words_may_stand_beside(folder: Path) -> None:
    (one,) = read_messages(
        written(folder, {"system": "be kind", "conversations": [
            {"from": "human", "value": "hello"}, {"from": "gpt", "value": "hi"}]})
    )  # fmt: skip
    assert one.turns[0] == Turn("system", "be kind")


def test_a_row_to_be_answered_may_end_with_the_question(folder: Path) -> None:
    path = written(folder, {"messages": [ASKED], "images": "a.jpg"})
    (one,) = read_messages(path, need_answers=False)
    assert not one.answered
    with pytest.raises(BadInput, match=r"data\.jsonl:1: there is no answer"):
        read_messages(path)


def test_paths_may_be_relative_to_another_folder(folder: Path) -> None:
    picture(folder / "elsewhere/a.jpg", 2)
    path = written(folder, {"messages": [ASKED, SAID], "images": ["a.jpg"]})
    (one,) = read_messages(path, root=str(folder / "elsewhere"))
    assert one.images == (str(folder / "elsewhere/a.jpg"),)


def test_tables_are_no_conversations(folder: Path) -> None:
    assert not is_messages(written(folder, {"image": "a.jpg", "text": "hello"}))
    assert not is_messages(folder / "a.jpg")
    assert not is_messages(folder / "none.jsonl")
    assert not is_messages(written(folder, {"messages": "many"}, name="odd.jsonl"))


def test_equal_files_have_equal_fingerprints(folder: Path) -> None:
    row = {"messages": [SAID]}
    one, same = written(folder, row), written(folder, row, name="same.jsonl")
    assert fingerprint(one) == fingerprint(same)
    assert fingerprint(one) != fingerprint(written(folder, row, row, name="more.jsonl"))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": [ASKED, SAID]}, "1 `<image>`, 0 images"),
        ({"messages": [ASKED, SAID], "images": ["a.jpg", "b.jpg"]}, "1 `<image>`, 2 images"),
        ({"messages": [dict(ASKED, content="what?"), SAID], "image": "a.jpg"},
         "0 `<image>`, 1 image"),
        ({"messages": [ASKED, SAID], "images": ["gone.jpg"]}, 'image "gone.jpg" does not exist'),
        ({"messages": [ASKED, SAID], "images": ["void.jpg"]}, 'image "void.jpg" has no bytes'),
        ({"messages": [ASKED, SAID], "images": ["https://x.org/a.jpg"]},
         "picture `https://x.org/a.jpg` is no file"),
        ({"messages": [ASKED, SAID], "images": [{"bytes": "…"}]}, "a picture is no path"),
        ({"messages": [ASKED, dict(SAID, content=" ")], "images": ["a.jpg"]},
         "turn 2, an answer, is empty"),
        ({"messages": [dict(ASKED, content=""), SAID]}, "turn 1, a question, is empty"),
        ({"messages": [SAID, ASKED]}, "turn 1 is the assistant's, not the user's"),
        ({"messages": [dict(ASKED, content="a"), dict(ASKED, content="b"), SAID]},
         "turn 2 is the user's, not the assistant's"),
        ({"messages": [dict(ASKED, content="a"), {"role": "system", "content": "b"}]},
         "turn 2 is the system's, not the assistant's"),
        ({"messages": [{"role": "system", "content": "b"}]}, "nobody says anything"),
        ({"messages": [dict(ASKED, content="a")]}, "there is no answer"),
        ({"messages": [dict(ASKED, content="a"), dict(SAID, content="<image>b")],
          "images": ["a.jpg"]}, "`<image>` stands in the assistant's words"),
        ({"messages": [dict(ASKED, role="usr"), SAID]}, "no role is named `usr`"),
        ({"messages": [{"role": "user"}, SAID]}, "a turn lacks `role` or `content`"),
        ({"conversations": [ASKED, SAID]}, "a turn lacks `from` or `value`"),
        ({"messages": [dict(ASKED, content=7), SAID]}, "is neither text nor a list"),
        ({"messages": [dict(ASKED, content=[{"type": "audio"}]), SAID]},
         "a piece of type `audio` is not read"),
        ({"messages": [dict(ASKED, content="<video>a"), SAID]}, "`<video>` is not read"),
        ({"messages": [ASKED, SAID], "videos": ["a.mp4"]}, "`videos` are not read"),
        ({"messages": []}, "`messages` is no list of turns"),
        ({"text": "a"}, "it has neither `messages` nor `conversations`"),
    ],
)  # fmt: skip
def test_what_is_wrong_names_the_file_and_the_row(folder: Path, row: Any, said: str) -> None:
    (folder / "void.jpg").write_bytes(b"")
    good = {"messages": [ASKED, SAID], "images": ["a.jpg"]}
    path = written(folder, good, row)
    with pytest.raises(BadInput) as error:
        read_messages(path)
    assert error.value.message == f"{path}:2: {error.value.message.partition(':2: ')[2]}"
    assert said in error.value.message
    assert error.value.hint
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"messages": [}', "a.jsonl:1: not JSON"),
        ("a.json", "[1, 2", "is not JSON"),
        ("a.json", '{"messages": []}', "is no JSON array"),
        ("a.json", "[3]", "a.json:row 1: not a JSON object"),
        ("a.jsonl", "", "has no rows"),
    ],
)
def test_files_that_are_none(folder: Path, name: str, content: str, said: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(BadInput, match=said):
        read_messages(folder / name)


def test_a_root_that_is_no_folder(folder: Path) -> None:
    path = written(folder, {"messages": [ASKED, SAID], "images": ["a.jpg"]})
    with pytest.raises(BadInput, match="is no folder"):
        read_messages(path, root=str(folder / "none"))
