"""What is wrong with a source is one line that names it, one that says what to do, and its code."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.conftest import Run, picture


def pack(path: Path, names: list[str], content: bytes) -> bytes:
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path.read_bytes()


@pytest.fixture
def bad(tmp_path: Path) -> None:
    content = picture(tmp_path / "a.png", 1).read_bytes()
    pack(tmp_path / "up.tar", ["../x.png"], content)
    pack(tmp_path / "root.tar", ["/tmp/x.png"], content)
    pack(tmp_path / "two.tar", ["x.png", "x.jpg"], content)
    whole = pack(tmp_path / "cut.tar", ["x.png", "y.png"], content)
    (tmp_path / "cut.tar").write_bytes(whole[:700])
    (tmp_path / "end.tar").write_bytes(whole[:1024])
    rows = [{"image": "a.png"}, {"image": "gone.png"}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "l.jsonl").write_text(json.dumps({"text": ["one", "two"]}))


@pytest.mark.usefixtures("bad")
@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        (
            "up.tar",
            3,
            "`up.tar`: member `../x.png` lies outside the archive's root",
            "do not trust",
        ),
        ("root.tar", 3, "`root.tar`: member `/tmp/x.png` lies outside", "do not trust it"),
        ("two.tar", 3, "`two.tar`: `x.jpg` and `x.png` are both the image of item `x`", "members"),
        ("cut.tar", 3, "`cut.tar` is cut short: unexpected end of data", "get it again"),
        ("end.tar", 3, "`end.tar` is cut short: its end mark is missing", "get it again"),
        ("x.tar.gz", 3, "`x.tar.gz` is compressed", "unpack the compression alone"),
        ("p-{0..2}.tar", 3, "`p-0.tar` of `p-{0..2}.tar` does not exist", "name the archives"),
        ("l.jsonl", 3, 'l.jsonl:1: column "text" must be a string or null', "`--explode text`"),
        ("zzz://h/t.csv", 3, "`zzz://h/t.csv`: no filesystem is known for zzz://", "s3, gs"),
        (
            "t.jsonl --on-error fail --image efficientnet-lite0",
            3,
            "t.jsonl:row 2: item `00000001`: image `gone.png`: does not exist",
            "paths are relative to",
        ),
    ],
)
def test_one_line_and_a_hint(
    words: str, code: int, message: str, hint: str, run_here: Run, tmp_path: Path
) -> None:
    done = run_here("extract", *words.split(), "-o", "out", "-q")
    assert done.returncode == code, done.stderr
    first, second = done.stderr.strip().splitlines()
    assert first.startswith(f"error: {message}")
    assert second.startswith(f"hint: {hint}")
    assert not (tmp_path / "out/manifest.json").exists()


def test_explode_and_dry_run(run_here: Run, bad: None, tmp_path: Path) -> None:
    done = run_here("extract", "l.jsonl", "-o", "out", "--explode", "text", "-n", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["items"] == 2
    assert not (tmp_path / "out").exists()
