"""URLs: tables, archives and cells on a server and in memory; what is missing is said at once."""

import functools
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fsspec
import pytest

from mmcli.core.errors import BadInput, MissingResource
from mmcli.data.files import PartError, read_regular
from mmcli.data.places import container_of, inside, is_url, locate
from mmcli.data.source import Source, SourceOptions, open_source

without_sftp = pytest.mark.skipif(find_spec("paramiko") is not None, reason="it is installed")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server of `tmp_path/www`."""
    pytest.importorskip("aiohttp")
    (tmp_path / "www").mkdir()
    handler = functools.partial(Quiet, directory=str(tmp_path / "www"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def opened(spec: str, tmp_path: Path, stdin: bytes = b"", **options: Any) -> Source:
    return open_source(SourceOptions(spec, **options), tmp_path / "spool", io.BytesIO(stdin))


def items(source: Source) -> list[dict[str, Any]]:
    return source.rows(0, source.n_items).to_pylist()


def contents(source: Source, part: str = "image") -> list[bytes]:
    return [read_regular(locate(source.root, row[part]), 100) for row in items(source)]


def packed(names: list[str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    return stream.getvalue()


def test_a_table_and_its_pictures_on_a_server(served: str, tmp_path: Path) -> None:
    (tmp_path / "www/pics").mkdir()
    (tmp_path / "www/pics/a.jpg").write_bytes(b"picture a")
    rows = [{"image": "pics/a.jpg"}, {"image": f"{served}/pics/a.jpg?size=1"}]
    (tmp_path / "www/t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    source = opened(f"{served}/t.jsonl", tmp_path)
    assert (source.kind, source.root) == ("jsonl", served)
    assert contents(source) == [b"picture a"] * 2
    assert [p.name for p in (tmp_path / "spool").iterdir()] == ["source.parquet"]
    with pytest.raises(PartError, match="does not exist"):
        read_regular(f"{served}/pics/none.jpg", 100)
    with pytest.raises(BadInput, match="does not exist"):
        opened(f"{served}/none.csv", tmp_path)


def test_urls_on_stdin(served: str, tmp_path: Path) -> None:
    (tmp_path / "www/a.jpg").write_bytes(b"a")
    source = opened("-", tmp_path, f"{served}/a.jpg\n".encode())
    assert items(source) == [{"id": f"{served}/a", "image": f"{served}/a.jpg"}]
    assert contents(source) == [b"a"]


def test_archives_in_memory(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for n in range(2):
        memory.pipe(f"/shards/{n}/p.tar", packed([f"a{n}.jpg", f"b{n}.jpg"]))
    for spec in ("memory://shards/*/p.tar", "memory://shards/{0..1}/p.tar"):
        source = opened(spec, tmp_path)
        assert source.kind == "tar" and source.in_this_process
        assert [row["id"] for row in items(source)] == ["a0", "b0", "a1", "b1"]
        assert contents(source) == [b"a0.jpg", b"b0.jpg", b"a1.jpg", b"b1.jpg"]
    memory.pipe("/shards/cut.tar", packed(["a.jpg"])[:600])
    with pytest.raises(BadInput, match=r"`memory://shards/cut.tar` is cut short"):
        opened("memory://shards/cut.tar", tmp_path)
    with pytest.raises(BadInput, match="matches no archive"):
        opened("memory://shards/none*.tar", tmp_path)


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    source = opened(f"file://{tmp_path}", tmp_path)
    assert (source.kind, source.root) == ("folder", str(tmp_path))
    table = json.dumps({"image": f"file://{tmp_path}/a.jpg"}).encode()
    assert contents(opened("-", tmp_path, table)) == [b"a"]


@without_sftp
@pytest.mark.parametrize(
    "spec", ["sftp://host/t.csv", "sftp://host/x.tar", "sftp://host/{0..1}.tar"]
)
def test_a_missing_package_is_named(spec: str, tmp_path: Path) -> None:
    with pytest.raises(MissingResource, match="sftp:// needs the package paramiko") as caught:
        opened(spec, tmp_path)
    assert caught.value.hint == "pip install paramiko"


@without_sftp
def test_a_missing_package_of_a_cell_is_named_before_the_run(tmp_path: Path) -> None:
    rows = [{"image": "a.jpg"}, {"image": "SFTP://host/b.jpg"}]
    table = "".join(json.dumps(row) + "\n" for row in rows).encode()
    with pytest.raises(MissingResource, match="needs the package paramiko"):
        opened("-", tmp_path, table)
    words = json.dumps({"text": "sftp://host is an address"}).encode()
    assert items(opened("-", tmp_path, words))[0]["text"] == "sftp://host is an address"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("zzz://host/t.csv", "no filesystem is known for zzz://"),
        ("zip://a.csv::s3://b/c.zip", "chained URLs are not read"),
        ("memory://folder", "is no table, archive or media file"),
    ],
)
def test_urls_that_are_no_source(spec: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message):
        opened(spec, tmp_path)


def test_places() -> None:
    assert locate("/r", "a/b.jpg") == "/r/a/b.jpg"
    assert locate("/r", "/x.jpg") == "/x.jpg"
    assert locate("s3://b/r/", "a.jpg") == "s3://b/r/a.jpg"
    assert locate("/r", "s3://b/a.jpg") == "s3://b/a.jpg"
    assert locate(None, "a.jpg") == "a.jpg"
    found = inside("/d/t.tar#512+9:a#1+2:b.jpg")
    assert found is not None
    assert (found.file, found.offset, found.size, found.name) == ("/d/t.tar", 512, 9, "a#1+2:b.jpg")
    cell = inside("s3://b/t.parquet#17.2+9:x")
    assert cell is not None and (cell.row, cell.column, cell.size) == (17, 2, 9)
    assert container_of("t.tar#link:x") == "t.tar"
    for plain in ("a.jpg", "a#b.jpg", "c#.jpg", "#1+2"):
        assert inside(plain) is None
    assert not is_url("C:/x") and not is_url("a/b://c") and is_url("https://x")


def test_a_file_whose_name_looks_like_a_place(tmp_path: Path) -> None:
    (tmp_path / "t.tar#1+2:x.jpg").write_bytes(b"itself")
    source = opened(str(tmp_path), tmp_path)
    assert contents(source) == [b"itself"]
