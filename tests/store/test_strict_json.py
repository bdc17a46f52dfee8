"""What JSON lacks becomes null; what numpy holds becomes plain."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmcli.core.errors import BadInput
from mmcli.store.strict_json import json_text, plain, read_object


def test_numbers_that_json_lacks_are_null() -> None:
    given = {"a": float("nan"), "b": [np.float32(np.inf), np.int64(3)], 4: (np.bool_(True),)}
    assert plain(given) == {"a": None, "b": [None, 3], "4": [True]}
    assert [type(one) for one in plain(given)["b"][1:] + plain(given)["4"]] == [int, bool]


def test_a_file_is_sorted_and_keeps_its_script() -> None:
    text = json_text({"b": "图", "a": {np.float64(0.5)}})
    assert text.endswith("}\n") and "图" in text
    assert list(json.loads(text).items()) == [("a", [0.5]), ("b", "图")]


def test_what_is_read_is_an_object_in_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_bytes('{"a": "图"}'.encode())
    assert read_object(path, "rows", "again") == {"a": "图"}
    for content in (b'{"a": ', b"\xff", b"[1]"):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"kept\.json") as caught:
            read_object(path, "rows", "again")
        assert caught.value.hint == "again"
    with pytest.raises(BadInput, match="cannot be read"):
        read_object(tmp_path / "none.json", "rows", "again")
