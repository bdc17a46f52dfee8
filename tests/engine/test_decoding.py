"""The pool of decoding processes where they die: of a file, or before any."""

import os
from pathlib import Path

import pytest

from mmcli.core.errors import OutOfResource
from mmcli.data.decode import PartTask
from mmcli.data.recipes import ImageRecipe
from mmcli.engine import decoding
from tests.conftest import picture

RECIPES = {"image": (ImageRecipe(8, 8),)}


def test_workers_that_cannot_start_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "start_worker", os._exit)
    pool = decoding.DecodePool(1, RECIPES)
    tasks = [PartTask(0, "image", str(picture(tmp_path / "a.png", 0)), True)]
    try:
        with pytest.raises(OutOfResource, match="cannot be started") as error:
            pool.result(pool.submit(tasks), tasks)
        assert "--workers 0" in error.value.hint
    finally:
        pool.close()
