"""What makes runs of `finetune` quick where a test looks at neither heads nor intervals."""

from collections.abc import Iterator

import pytest

#: Modules of workflows with a number of resamples.
_DRAWING = (
    *("fuse.table", "finetune.report.analysis", "finetune.report.slices"),
    *("finetune.pairs.run", "finetune.streams.report"),
)


@pytest.fixture(scope="module")
def few_resamples() -> Iterator[None]:
    """Intervals of fifty resamples; users get a thousand."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _DRAWING:
            patch.setattr(f"mmcli.workflows.{name}.RESAMPLES", 50)
        yield


@pytest.fixture(scope="module")
def short_heads() -> Iterator[None]:
    """Four epochs of heads on frozen features before towers are tuned; users get up to sixty."""
    with pytest.MonkeyPatch.context() as patch:
        sizes = "mmcli.workflows.finetune.prepared.plan_sizes"
        patch.setattr(sizes, lambda config: {"epochs": 4})
        yield
