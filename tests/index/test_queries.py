"""What a search may be asked, and what its rows look like: text in, plain values out."""

import datetime
import io
from pathlib import Path

import numpy as np
import pytest

from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.workflows.index.rows import choose_keys
from mmcli.workflows.queries.file import QueryPart, parse_part, read_queries
from mmcli.workflows.queries.plans import QueryPlan, plan_bound, plan_queries
from mmcli.workflows.queries.vectors import refuse_nothing
from mmcli.workflows.search.result_rows import order_columns, path_from_here, plain, result_row


def test_weights_follow_the_last_equals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat=2").write_bytes(b"")
    assert parse_part("text", "a tiger") == QueryPart("text", "a tiger")
    assert parse_part("text", "snow=-0.5") == QueryPart("text", "snow", -0.5, given="snow=-0.5")
    assert parse_part("text", "x=2=1.5") == QueryPart("text", "x=2", 1.5, given="x=2=1.5")
    assert parse_part("text", "a=b") == QueryPart("text", "a=b")
    assert parse_part("image", "cat=2") == QueryPart("image", "cat=2")  # there is such a file
    assert parse_part("image", "dog.jpg=2").value == "dog.jpg"
    for nothing in ("a=inf", "a=nan", "  ", " =2"):
        with pytest.raises(UsageError):
            parse_part("text", nothing)


def test_a_table_on_stdin_is_known_by_its_first_line() -> None:
    def asked(text: str) -> list[tuple[str, str, str]]:
        found = read_queries("-", io.BytesIO(text.encode()))
        return [(query.name, part.kind, part.value) for query in found for part in query.parts]

    assert asked("id\ttext\nq1\ta cat\n") == [("q1", "text", "a cat")]
    assert asked('id,"like"\nq1,猫/1\n') == [("q1", "like", "猫/1")]
    assert asked('{"id": "q1", "text": "a cat"}\n') == [("q1", "text", "a cat")]
    assert asked("text\na cat, a dog\n")[0] == ("text", "text", "text"), "one word is a text"
    assert asked("id, please\na cat\n")[0][2] == "id, please"


def test_query_files(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"id": 7, "text": "a", "image": "b.jpg"}\n\n{"like": "x"}\n')
    first, second = read_queries(str(tmp_path / "q.jsonl"))
    assert first.name == "7"
    assert [(p.kind, p.value) for p in first.parts] == [
        ("text", "a"),
        ("image", str(tmp_path / "b.jpg")),
    ]
    assert (second.name, second.parts[0].where) == ("x", f"{tmp_path}/q.jsonl:3")
    (tmp_path / "q.tsv").write_text('id\ttext\n1\tsay "hi"\n')
    assert read_queries(str(tmp_path / "q.tsv"))[0].parts[0].value == 'say "hi"'
    (tmp_path / "q.csv").write_text('text,other\n"a, b",1\n')
    assert read_queries(str(tmp_path / "q.csv"))[0].parts[0].value == "a, b"
    (tmp_path / "q.txt").write_bytes("\ufeff一只老虎\r\n\r\na\u2028b\r\n".encode())
    assert [q.name for q in read_queries(str(tmp_path / "q.txt"))] == ["一只老虎", "a\u2028b"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.jsonl", b"{nope}", "q.jsonl:1: not JSON"),
        ("q.jsonl", b'{"text": "a"}\n[]', "q.jsonl:2: not a JSON object"),
        ("q.jsonl", b'{"text": 3}', "`text` must be a string"),
        ("q.jsonl", b'{"id": "x"}', "q.jsonl:1: holds no query"),
        ("q.tsv", b"a\tb\n1\t2\n", "q.tsv:1: no column"),
        ("q.tsv", b"text\tb\n1\n", "q.tsv:2: 1 cells"),
        ("q.txt", b"ok\n\xff", "q.txt:2: not UTF-8"),
        ("q.txt", b"\n", "holds no query"),
        ("q.jsonl", b'{"text": "  "}', "q.jsonl:1: holds no query"),
    ],
)
def test_bad_query_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=message):
        read_queries(str(tmp_path / name))
    with pytest.raises(BadInput, match="does not exist"):
        read_queries(str(tmp_path / "missing"))


def test_paths_open_from_here() -> None:
    assert path_from_here("/data/photos", "a/b.jpg", "/data") == "photos/a/b.jpg"
    assert path_from_here("/data/photos", "a.jpg", "/home") == "/data/photos/a.jpg"
    assert path_from_here("/data", "/x/a.jpg", "/home") == "/x/a.jpg"
    assert path_from_here("/data", "..a.jpg", "/data") == "..a.jpg"


def test_rows_hold_only_what_json_has() -> None:
    item = {"id": "a", "score": 3, "day": datetime.date(2026, 1, 2), "n": float("nan"), "b": b"\1"}
    assert result_row(item, 1, 0.123456789, "q", None) == {
        "query": "q", "rank": 1, "score": 0.123457,
        "id": "a", "item_score": 3, "day": "2026-01-02", "n": None, "b": "01",
    }  # fmt: skip
    assert plain([{"a": (1, None)}]) == [{"a": [1, None]}]
    columns = ["label", "text", "modality", "image", "id"]
    assert order_columns(columns, "modality") == ["id", "modality", "image", "text", "label"]


ENTRIES = {
    "text": {"encoder": "minilm-l6", "space": "minilm-l6@53aa51172d14", "dim": 384},
    "image": {"encoder": "conse-efficientnet-lite0", "space": "minilm-l6@53aa51172d14", "dim": 384},
    "image:efficientnet-lite0": {"encoder": "efficientnet-lite0", "space": "e@1", "dim": 1280},
    "foreign": {"space": "", "dim": 384},
}


def test_keys_of_two_spaces_do_not_share_an_index() -> None:
    assert choose_keys(ENTRIES, ()) == ["image"]
    assert choose_keys(ENTRIES, ("text", "image", "text")) == ["text", "image"]
    with pytest.raises(SpaceMismatch, match=r"minilm-l6@53aa51172d14.*e@1"):
        choose_keys(ENTRIES, ("image", "image:efficientnet-lite0"))
    with pytest.raises(SpaceMismatch, match="does not say"):
        choose_keys(ENTRIES, ("foreign", "image"))
    halves = {
        "image": {**ENTRIES["image"], "normalized": True},
        "text": {**ENTRIES["text"], "normalized": False},
    }
    assert choose_keys(halves, ("image", "text")) == ["image", "text"]  # cosine brings both to 1
    with pytest.raises(SpaceMismatch, match="normalized"):
        choose_keys(halves, ("image", "text"), metric="l2")
    with pytest.raises(UsageError, match="imge"):
        choose_keys(ENTRIES, ("imge",))


def test_query_encoders_are_found_by_space() -> None:
    plans = plan_queries(ENTRIES, ["image"], {})
    assert {m: p.encoder for m, p in plans.items()} == {
        "text": "minilm-l6",
        "image": "conse-efficientnet-lite0",
        "speech": "whisper-tiny-en-minilm",
        "video": "conse-efficientnet-lite0",
    }
    only_pictures = {"image": ENTRIES["image"]}
    assert plan_queries(only_pictures, ["image"], {})["text"].encoder == "minilm-l6"
    assert plan_queries(ENTRIES, ["foreign"], {}) == {}
    prompted = {"text": {**ENTRIES["text"], "prompts": {"query": "query: "}}}
    assert plan_queries(prompted, ["text"], {})["text"].prompt == "query: "
    assert plan_queries(prompted, ["text"], {}, prompt="q ")["text"].prompt == "q "


def test_a_key_that_an_aligner_reads_is_encoded_as_it_was() -> None:
    bound = {**ENTRIES["text"], "max_length": 32, "prompts": {"query": "q: ", "used": "p: "},
             "weights_sha256": "a" * 64, "preprocessing_sha256": "b" * 64}  # fmt: skip
    plan = plan_bound("text", bound, {})
    assert plan is not None
    assert (plan.encoder, plan.prompt, plan.max_length) == ("minilm-l6", "p: ", 32)
    assert (plan.weights_sha256, plan.preprocessing_sha256) == ("a" * 64, "b" * 64)
    assert QueryPlan.from_manifest("text", plan.as_manifest()) == plan
    asked = plan_bound("text", bound, {}, prompt="q: ")
    assert asked is not None and asked.prompt == "q: "
    plain = plan_bound("text", ENTRIES["text"], {})
    assert plain is not None and plain.prompt == ""  # none then, so none now
    assert plan_bound("text", {**bound, "reference": "no-such-encoder"}, {}) is None
    assert plan_bound("foreign", ENTRIES["foreign"], {}) is None


def test_a_recording_without_words_is_named() -> None:
    """Its vector is of zeros; it once read as queries that cancel each other out."""
    part = QueryPart("speech", "silence.wav", where="asked.jsonl:2")
    refuse_nothing(part, np.array([0.0, 0.1], np.float32))
    with pytest.raises(BadInput, match=r"asked.jsonl:2: nothing was recognised in speech `silence"):
        refuse_nothing(part, np.zeros(2, np.float32))
