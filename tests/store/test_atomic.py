"""Where a directory may come to be."""

import pytest

from mmcli.core.errors import BadInput
from mmcli.store.atomic import directory_exists


def test_a_file_on_the_way_to_a_directory_is_refused_before_anything_is_made(tmp_path):
    (tmp_path / "file").write_text("x")
    assert directory_exists(tmp_path) and not directory_exists(tmp_path / "new" / "deeper")
    with pytest.raises(OSError, match="too long"):
        directory_exists(tmp_path / ("x" * 300))
    for place in ("file", "file/x", "file/x/y"):
        with pytest.raises(BadInput, match="is not a directory"):
            directory_exists(tmp_path / place)
