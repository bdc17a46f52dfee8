"""What JSON lacks becomes null; what numpy holds becomes plain."""

import json

import numpy as np

from mmcli.store.strict_json import json_text, plain


def test_numbers_that_json_lacks_are_null() -> None:
    given = {"a": float("nan"), "b": [np.float32(np.inf), np.int64(3)], 4: (np.bool_(True),)}
    assert plain(given) == {"a": None, "b": [None, 3], "4": [True]}
    assert [type(one) for one in plain(given)["b"][1:] + plain(given)["4"]] == [int, bool]


def test_a_file_is_sorted_and_keeps_its_script() -> None:
    text = json_text({"b": "图", "a": {np.float64(0.5)}})
    assert text.endswith("}\n") and "图" in text
    assert list(json.loads(text).items()) == [("a", [0.5]), ("b", "图")]
