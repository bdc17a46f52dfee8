"""Folders of real files that tests and measurements share: good ones, broken ones."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import soundfile as sf

from tests.conftest import picture, recording


def mixed(root: Path, n: int) -> Path:
    """`n` items of a picture, a text and, each third, a recording."""
    for i in range(n):
        picture(root / f"item{i:04d}.jpg", i, (96, 80))
        (root / f"item{i:04d}.txt").write_text(f"thing number {i} of {n}", "utf-8")
        if i % 3 == 0:
            recording(root / f"item{i:04d}.wav", i)
    return root


def break_things(root: Path, n: int) -> int:
    """Put `n` broken files of every sort into a folder; returns how many items that makes."""
    jpeg = picture(root / "zz-source.jpg", 1).read_bytes()
    (root / "zz-source.jpg").unlink()
    makers = (_truncated, _empty, _noise, _huge, _nan_audio, _not_utf8, _directory, _fifo, _link)
    for i in range(n):
        makers[i % len(makers)](root, f"bad{i:04d}", jpeg)
    return n


def _truncated(root: Path, name: str, jpeg: bytes) -> None:
    (root / f"{name}.jpg").write_bytes(jpeg[: len(jpeg) // 2])


def _empty(root: Path, name: str, jpeg: bytes) -> None:
    (root / f"{name}.png").write_bytes(b"")


def _noise(root: Path, name: str, jpeg: bytes) -> None:
    (root / f"{name}.jpg").write_bytes(np.random.default_rng(0).bytes(2000))


def _huge(root: Path, name: str, jpeg: bytes) -> None:
    """A PNG whose header says 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    body = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (root / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body + b"\0" * 64)


def _nan_audio(root: Path, name: str, jpeg: bytes) -> None:
    samples = np.zeros(1600, np.float32)
    samples[100] = np.nan
    sf.write(root / f"{name}.wav", samples, 16000, subtype="FLOAT")


def _not_utf8(root: Path, name: str, jpeg: bytes) -> None:
    (root / f"{name}.txt").write_bytes(b"caf\xe9 \xff\xfe")


def _directory(root: Path, name: str, jpeg: bytes) -> None:
    (root / f"{name}.jpg").mkdir()


def _fifo(root: Path, name: str, jpeg: bytes) -> None:
    os.mkfifo(root / f"{name}.wav")


def _link(root: Path, name: str, jpeg: bytes) -> None:
    (root / f"{name}.png").symlink_to(root / "nowhere.png")
