"""Folders, globs and path lists: which files make which items, in what order, under what ids."""

import io
import os
import unicodedata
from pathlib import Path

import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.source import SourceOptions, open_source


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def read(spec, tmp_path, stdin=None, **options):
    return open_source(SourceOptions(str(spec), **options), tmp_path / "spool", stdin)


def items(source):
    return source.rows(0, source.n_items).to_pylist()


def test_files_of_one_stem_are_one_item(tmp_path):
    root = tmp_path / "pets"
    touch(root, "cat.jpg", "cat.txt", "cat.wav", "b/dog.PNG", "b/cat.mp4", "a.b.jpg", "note.pdf")
    touch(root, ".hidden.jpg", ".git/x.jpg", "README")
    source = read(root, tmp_path)
    assert (source.kind, source.root, source.text_is_path) == ("folder", str(root), True)
    assert source.schema.names == ["id", "image", "text", "speech", "video"]
    assert source.modalities == ("image", "text", "speech", "video")
    nothing = {"image": None, "text": None, "speech": None, "video": None}
    assert items(source) == [
        nothing | {"id": "a.b", "image": "a.b.jpg"},
        nothing | {"id": "b/cat", "video": "b/cat.mp4"},
        nothing | {"id": "b/dog", "image": "b/dog.PNG"},
        nothing | {"id": "cat", "image": "cat.jpg", "text": "cat.txt", "speech": "cat.wav"},
    ]
    assert source.ignored == {".pdf": 1, "": 1}
    assert source.describe()["fingerprint"] == source.fingerprint
    source.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_fingerprint_changes_with_a_file(tmp_path):
    touch(tmp_path / "p", "a.jpg", "b.jpg")
    first = read(tmp_path / "p", tmp_path).fingerprint
    assert read(tmp_path / "p", tmp_path).fingerprint == first
    (tmp_path / "p" / "b.jpg").write_bytes(b"longer")
    assert read(tmp_path / "p", tmp_path).fingerprint != first


def test_two_files_for_one_part_are_refused(tmp_path):
    touch(tmp_path / "p", "cat.jpg", "cat.png")
    with pytest.raises(
        BadInput, match=r"`cat\.jpg` and `cat\.png` are both the image of item `cat`"
    ):
        read(tmp_path / "p", tmp_path)


def test_what_only_is_named_like_a_picture_is_an_item(tmp_path):
    root = tmp_path / "p"
    touch(root, "dir.jpg/inner.jpg")
    os.mkfifo(root / "pipe.wav")
    (root / "gone.jpg").symlink_to("nowhere.jpg")
    assert [row["id"] for row in items(read(root, tmp_path))] == [
        "dir",
        "dir.jpg/inner",
        "gone",
        "pipe",
    ]


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path / "elsewhere", "far.jpg")
    root = tmp_path / "p"
    touch(root, "a/near.jpg")
    (root / "a" / "loop").symlink_to(root)
    (root / "self").symlink_to("self")
    (root / "b").symlink_to(tmp_path / "elsewhere")
    assert [row["id"] for row in items(read(root, tmp_path))] == ["a/near", "b/far"]


def test_ids_are_nfc_and_paths_as_on_disk(tmp_path):
    name = unicodedata.normalize("NFD", "été")
    touch(tmp_path / "p", f"{name}.jpg", "été.txt", "图.jpg")
    first, second = items(read(tmp_path / "p", tmp_path))
    assert first == {"id": "été", "image": f"{name}.jpg", "text": "été.txt"}
    assert second["id"] == "图"


def test_a_name_that_is_not_utf8_is_an_item(tmp_path):
    root = tmp_path / "p"
    root.mkdir()
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.jpg")).write_bytes(b"x")
    assert items(read(root, tmp_path)) == [{"id": "caf\\xe9", "image": "caf\\xe9.jpg"}]


def test_nothing_usable_says_what_was_there(tmp_path):
    touch(tmp_path / "p", "a.pdf", "b.pdf", "t.csv")
    with pytest.raises(BadInput, match="names no image") as caught:
        read(tmp_path / "p", tmp_path)
    assert caught.value.hint.startswith("ignored: 2 .pdf, 1 .csv; a table is a source")
    with pytest.raises(BadInput, match="does not exist"):
        read(tmp_path / "nope", tmp_path)
    (tmp_path / "x.zip").write_bytes(b"")
    with pytest.raises(BadInput, match="no source that can be read"):
        read(tmp_path / "x.zip", tmp_path)
    with pytest.raises(UsageError, match="--map"):
        read(tmp_path / "p", tmp_path, mapping={"image": "a"})


@pytest.mark.parametrize(
    ("pattern", "ids"),
    [
        ("*.jpg", ["c", "x.jpg"]),
        ("**/*.jpg", ["a/b/d", "a/d", "c", "x.jpg"]),
        ("a/**", ["b/d", "d"]),
        ("**/d.*", ["a/b/d", "a/d"]),
        ("?/[ab]/*", ["a/b/d"]),
        ("**/.h*", [".hid"]),
    ],
)
def test_globs(tmp_path, pattern, ids):
    root = tmp_path / "p"
    touch(root, "c.jpg", "a/d.jpg", "a/d.txt", "a/b/d.jpg", "n.pdf", ".hid.jpg", "x.jpg.jpg")
    source = read(root / pattern, tmp_path)
    assert [row["id"] for row in items(source)] == ids
    assert source.kind == "glob"


def test_a_glob_without_a_match_and_a_name_with_brackets(tmp_path):
    touch(tmp_path / "p", "a[1].jpg")
    with pytest.raises(BadInput, match="names no image"):
        read(tmp_path / "p" / "*.png", tmp_path)
    with pytest.raises(BadInput, match="is no folder"):
        read(tmp_path / "q" / "*.png", tmp_path)
    assert items(read(tmp_path / "p" / "a[1].jpg", tmp_path)) == [
        {"id": "a[1]", "image": "a[1].jpg"}
    ]


def test_paths_on_stdin_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "z.jpg", "a.jpg", "z.txt", "sub/k.wav")
    listing = f"z.jpg\n./a.jpg\r\n\nz.txt\n{tmp_path}/sub/k.wav\nx.pdf\n/far/away.jpg\n"
    source = read("-", tmp_path, io.BytesIO(listing.encode()))
    assert source.kind == "paths"
    assert source.ignored == {".pdf": 1}
    rows = items(source)
    assert [row["id"] for row in rows] == ["z", "a", "sub/k", "far/away"]
    assert rows[0]["text"] == "z.txt"
    assert rows[3]["image"] == "/far/away.jpg"


def test_paths_separated_by_nul_below_a_root(tmp_path):
    touch(tmp_path / "p", "new\nline.jpg", "b.jpg")
    stdin = io.BytesIO(b"new\nline.jpg\0b.jpg\0")
    source = read("-", tmp_path, stdin, root=str(tmp_path / "p"), null_separated=True)
    assert [row["id"] for row in items(source)] == ["new\nline", "b"]


def test_lists_that_cannot_be_used(tmp_path):
    with pytest.raises(BadInput, match="is listed twice"):
        read("-", tmp_path, io.BytesIO(b"a.jpg\n./a.jpg\n"))
    with pytest.raises(BadInput, match="stdin names no image"):
        read("-", tmp_path, io.BytesIO(b""))
    with pytest.raises(UsageError, match="`-0`"):
        read(tmp_path, tmp_path, null_separated=True)


def test_a_terminal_on_stdin_is_refused(tmp_path):
    main, terminal = os.openpty()
    try:
        with (
            open(terminal, "rb", buffering=0) as stdin,
            pytest.raises(UsageError, match="stdin is a terminal"),
        ):
            read("-", tmp_path, stdin)
    finally:
        os.close(main)


def test_folder_glob_and_list_mean_the_same(tmp_path):
    root = tmp_path / "p"
    touch(root, "b.jpg", "a/c.jpg", "a/c.txt")
    folder = items(read(root, tmp_path))
    assert items(read(root / "**", tmp_path)) == folder
    listing = io.BytesIO(b"a/c.jpg\na/c.txt\nb.jpg\n")
    assert items(read("-", tmp_path, listing, root=str(root))) == folder
