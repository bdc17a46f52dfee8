"""WebDataset archives: keys, columns, several of them, and what is refused by name."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.files import PartError, read_regular
from mmcli.data.places import locate
from tests.data.opened_sources import items, opened

BOTH = "`d.tar`: `x.jpg` and `x.png` are both the image of item `x`"
Members = Sequence[tuple[str, bytes]]


def pack(path: Path, members: Members) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def refused(tmp_path: Path, spec: object, **options: Any) -> str:
    with pytest.raises(BadInput) as caught:
        opened(spec, tmp_path, **options)
    assert caught.value.hint and "\n" not in caught.value.message
    assert not list((tmp_path / "spool").glob("*.sqlite"))
    return caught.value.message.replace(f"{tmp_path}/", "")


def test_members_of_one_key_are_one_item(tmp_path: Path) -> None:
    told = json.dumps({"label": "cat", "size": [4, 2], "id": "a.b/x"}).encode()
    members = [
        ("./a.b/x.JPG", b"picture"),
        ("./a.b/x.txt", b"words"),
        ("./a.b/x.json", told),
        ("a.b/x.seg.png", b"mask"),
        ("a.b/._x.jpg", b"litter"),
        ("__meta__/x.jpg", b"not an item"),
        ("y.wav", b"sound"),
        ("y.cls", b"7\n"),
        ("z.v2.png", b"other picture"),
        ("notes.pdf", b"ignored"),
        ("README", b"ignored"),
    ]
    source = opened(pack(tmp_path / "d.tar", members), tmp_path)
    assert (source.kind, source.root, source.text_is_path) == ("tar", str(tmp_path), True)
    assert source.modalities == ("image", "text", "speech")
    x, y, z = items(source)
    assert (x["id"], x["label"], x["size"], x["cls"]) == ("a.b/x", "cat", [4, 2], None)
    assert (y["id"], y["label"], y["cls"], y["image"]) == ("y", None, 7, None)
    assert z["id"] == "z" and z["image"].endswith(":z.v2.png")
    for place, content in (
        (x["image"], b"picture"),
        (x["text"], b"words"),
        (y["speech"], b"sound"),
    ):
        assert read_regular(locate(source.root, place), 100) == content
    assert source.ignored == {".seg.png": 1, ".jpg": 2, ".pdf": 1, "": 1}


def test_keys_are_those_of_the_webdataset_library(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    names = ["a/b.c/x.jpg", "a/b.c/x.txt", "y.jpg", "y.seg.png", "z.w.jpg", ".hidden.jpg", "é.png"]
    path = pack(tmp_path / "d.tar", [(name, name.encode()) for name in names])
    theirs = [s["__key__"] for s in webdataset.WebDataset(str(path), shardshuffle=False)]
    assert [row["id"] for row in items(opened(path, tmp_path))] == theirs


@pytest.mark.parametrize("spec", ["d/p-{000..002}.tar", "d/p-*.tar", "d/{p-000,p-00{1,2}}.tar"])
def test_several_archives(tmp_path: Path, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for n in range(3):
        pack(tmp_path / f"d/p-00{n}.tar", [(f"{n}/a.jpg", b"%d" % n)])
    source = opened(spec, tmp_path)
    assert [row["id"] for row in items(source)] == ["0/a", "1/a", "2/a"]
    contents = [read_regular(locate(source.root, r["image"]), 9) for r in items(source)]
    assert contents == [b"0", b"1", b"2"]


def test_archives_in_several_folders(tmp_path: Path) -> None:
    for n in range(2):
        pack(tmp_path / f"d/{n}/p.tar", [(f"x{n}.jpg", b"%d" % n)])
    source = opened(tmp_path / "d/*/p.tar", tmp_path)
    assert source.root == str(tmp_path / "d")
    assert [row["image"] for row in items(source)] == [f"{n}/p.tar#512+1:x{n}.jpg" for n in (0, 1)]


def test_the_text_may_be_json(tmp_path: Path) -> None:
    members = [("a.jpg", b"1"), ("a.json", b'{"caption": "one", "other": null}')]
    path = pack(tmp_path / "d.tar", members)
    source = opened(path, tmp_path, mapping={"text": "caption"})
    assert not source.text_is_path
    assert [row["text"] for row in items(source)] == ["one"]
    with pytest.raises(UsageError, match="--root"):
        opened(path, tmp_path, root="x")


def test_the_fingerprint_is_of_the_archive(tmp_path: Path) -> None:
    path = pack(tmp_path / "d.tar", [("a.jpg", b"1"), ("b.jpg", b"2")])
    first = opened(path, tmp_path).fingerprint
    assert opened(path, tmp_path).fingerprint == first
    pack(path, [("a.jpg", b"1"), ("b.jpg", b"22")])
    assert opened(path, tmp_path).fingerprint != first


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (["../x.jpg"], "`d.tar`: member `../x.jpg` lies outside the archive's root"),
        (["a/../../x.jpg"], "`d.tar`: member `a/../../x.jpg` lies outside the archive's root"),
        (["/etc/x.jpg"], "`d.tar`: member `/etc/x.jpg` lies outside the archive's root"),
        (["x.png", "x.jpg"], "`d.tar`: `x.jpg` and `x.png` are both the image of item `x`"),
        (
            ["x.jpg", "y.jpg", "x.png"],
            "`d.tar`: `x.jpg` and `x.png` are both the image of item `x`",
        ),
        (["x.jpg", "x.jpg"], "`d.tar` holds `x.jpg` twice"),
        (["x.jpg", "y.jpg", "x.jpg"], "`d.tar` holds `x.jpg` twice"),
        (["x.pdf"], "`d.tar` holds no image, text, speech or video member"),
    ],
)
def test_refused_members(tmp_path: Path, members: list[str], message: str) -> None:
    path = pack(tmp_path / "d.tar", [(name, b"1") for name in members])
    assert refused(tmp_path, path) == message


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (b"[1]", "member `x.json` is no JSON object"),
        (b"{", "member `x.json` cannot be read: Expecting property name"),
        (b'{"n": NaN}', "member `x.json` cannot be read: a number may not be NaN"),
        (b'{"id": "other"}', "item `x`: its JSON has an `id` that is not its key"),
        (b'{"image": "p"}', "item `x`: its JSON has a column `image`, which members are"),
        (b'{"text": ["a"]}', 'item `x`: column "text" must be a string or null, here ["a"]'),
        (b'{"has_x": 1}', "the column name `has_x` is reserved"),
        (b'{"n": 1}', 'item `y`: column "n" is int64 in earlier rows, here "many"'),
    ],
)
def test_refused_json(tmp_path: Path, told: bytes, message: str) -> None:
    members = [("x.jpg", b"1"), ("x.json", told), ("y.jpg", b"1"), ("y.json", b'{"n": "many"}')]
    assert refused(tmp_path, pack(tmp_path / "d.tar", members)).startswith(f"`d.tar`: {message}")


def test_one_key_in_two_archives(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", [("x.jpg", b"1")])
    pack(tmp_path / "b.tar", [("x.png", b"1")])
    message = refused(tmp_path, tmp_path / "{a,b}.tar")
    assert message == "`b.tar`: `x.png` has the key of `x.jpg` in `a.tar`: `x`"
    assert refused(tmp_path, tmp_path / "{a,b,c}.tar") == "`c.tar` of `{a,b,c}.tar` does not exist"
    assert refused(tmp_path, tmp_path / "{a,a}.tar") == "`a.tar` is named twice by `{a,a}.tar`"
    assert refused(tmp_path, tmp_path / "z*.tar") == "`z*.tar` matches no archive"


@pytest.mark.parametrize("kept", [0, 100, 512, 700, 1024, 2000, 2048, 3071])
def test_a_truncated_archive(tmp_path: Path, kept: int) -> None:
    path = pack(tmp_path / "d.tar", [("a.jpg", b"1"), ("b.jpg", b"x" * 900)])
    whole = path.read_bytes()
    assert items(opened(path, tmp_path))[1]["image"] == "d.tar#1536+900:b.jpg"
    path.write_bytes(whole[:kept])
    assert "`d.tar` is " in refused(tmp_path, path)
    path.write_bytes(whole[:1024] + b"garbage " * 64 + whole[1536:])
    assert (
        refused(tmp_path, path)
        == "`d.tar` is no sound tar archive: no header stands where one should"
    )


def test_compressed_archives(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "d.tar.gz", "w:gz"):
        pass
    (tmp_path / "hidden.tar").write_bytes((tmp_path / "d.tar.gz").read_bytes())
    for name in ("d.tar.gz", "hidden.tar", "p-{0..3}.tar.zst"):
        assert "is compressed" in refused(tmp_path, tmp_path / name)


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    with tarfile.open(tmp_path / "d.tar", "w") as tar:
        for name, kind in (("a.jpg", tarfile.SYMTYPE), ("b.jpg", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(tmp_path / "secret.jpg")
            tar.addfile(info)
        device = tarfile.TarInfo("c.jpg")
        device.type = tarfile.CHRTYPE
        tar.addfile(device)
    source = opened(tmp_path / "d.tar", tmp_path)
    assert [row["id"] for row in items(source)] == ["a", "b"]
    for row in items(source):
        with pytest.raises(PartError, match="is a link in an archive, which is not followed"):
            read_regular(locate(source.root, row["image"]), 100)


def test_a_replaced_archive_is_noticed(tmp_path: Path) -> None:
    path = pack(tmp_path / "d.tar", [("a.jpg", b"x" * 5000)])
    (row,) = items(opened(path, tmp_path))
    place = locate(str(tmp_path), row["image"])
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(PartError, match="cut short or replaced"):
        read_regular(place, 9999)
    path.unlink()
    with pytest.raises(PartError, match=r"`d.tar`, which holds it, does not exist"):
        read_regular(place, 9999)
    with pytest.raises(PartError, match="has 5000 bytes, more than 10"):
        read_regular(place, 10)
