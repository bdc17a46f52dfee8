"""Numbers out of their bounds: refused by every verb that trains, before anything is read."""

import pytest

from mmcli.core.bounds import TRAINING, check_options, parsed, within
from mmcli.core.errors import UsageError
from tests.conftest import Run


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_what_is_out_of_bounds_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match=r"`--lr .*` is out of bounds") as raised:
        within(f"--lr {value:g}", value, TRAINING["lr"])
    assert raised.value.hint == "from 1e-09 to 100"


def test_bounds_belong_to_what_is_allowed() -> None:
    check_options({"epochs": 1, "ema": 0.9999, "batch": None, "other": -1}, TRAINING)
    with pytest.raises(UsageError, match="`--weight-decay -1`") as raised:
        check_options({"weight_decay": -1.0}, TRAINING)
    assert raised.value.hint == "from 0 to 1000"
    with pytest.raises(UsageError) as raised:
        check_options({"epochs": 0}, TRAINING)
    assert raised.value.hint == "from 1 to 1000000"


def test_what_is_no_number_is_told_as_it_was_written() -> None:
    assert parsed("--set rank", "8", (1, 100)) == 8
    with pytest.raises(UsageError, match="`--set rank=many` is out of bounds"):
        parsed("--set rank", "many", (1, 100))


@pytest.mark.parametrize(
    ("option", "value"),
    [("--ema", 2), ("--clip", -1), ("--epochs", 0), ("--batch", 1), ("--lr", -1),
     ("--dropout", 2), ("--temperature", 0), ("--warmup", 5), ("--patience", 0)],
)  # fmt: skip
def test_align_refuses_numbers_that_cannot_train(run: Run, option: str, value: float) -> None:
    """Some of these gave a worthless aligner and exit 0, others exit 1."""
    words = ("align", "train", "nowhere", "-o", "out", "--between", "text,image", option, value)
    refused = run(*words)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: `{option} {value}` is out of bounds\nhint: from ")
