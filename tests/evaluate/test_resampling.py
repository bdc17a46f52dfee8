"""What a reader is told of intervals that are not what they say."""

import pytest

from mmcli.core.errors import UsageError
from mmcli.workflows.evaluate.resampling import check_resamples, interval_warnings


def test_few_groups_and_few_resamples_are_told() -> None:
    assert interval_warnings(1000, 20) == interval_warnings(0, 5) == []
    assert interval_warnings(1000, 1) == []  # there is no interval
    (few,) = interval_warnings(1000, 13)
    assert few.startswith("intervals are of 13 rows or groups") and "too narrow" in few
    (coarse,) = interval_warnings(1, 500)
    assert coarse.startswith("1 resamples are too few")


def test_less_than_none_is_refused() -> None:
    check_resamples(0)
    with pytest.raises(UsageError, match="`--bootstrap -1`"):
        check_resamples(-1)
