"""The curves of a run as a file that TensorBoard reads, written without its package.

An event file is a chain of TFRecords, each a protobuf `Event`. Only scalars are written, and no
clock: an event's wall time is its step, so that equal histories give equal bytes. The package
`tensorboard` would bring gRPC and a web server along. Knows nothing about models.
"""

import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any

#: The stem of the file: TensorBoard opens what has `tfevents` in its name.
SCALARS = "events.out.tfevents.mmcli"
#: What says where on the axis a record stands, and is no value itself; the first that is there.
_AXES = ("step", "epoch")
_SEED = "seed"
#: Castagnoli's polynomial, bits reversed (RFC 3720, appendix B.4).
_POLYNOMIAL = 0x82F63B78
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def scalars_file(history: Iterable[Mapping[str, Any]]) -> bytes:
    """One scalar a number of each record, at its `step`, else its `epoch`, else its place.

    Texts of a record, such as its stage, and its seed come before the name: `tune/seed-1/loss`.
    What is no finite number is left out. Source: TensorFlow's TFRecord format and `event.proto`.
    """
    found = [_record(_event(0, version="brain.Event:2"))]
    for place, record in enumerate(history):
        texts = [value for value in record.values() if isinstance(value, str) and value]
        if _SEED in record:  # several runs in one history
            texts.append(f"{_SEED}-{record[_SEED]}")
        step = next((int(record[name]) for name in _AXES if record.get(name) is not None), place)
        scalars = {
            "/".join([*texts, name]): float(value)
            for name, value in record.items()
            if name not in ("step", _SEED) and _is_finite(value)
        }
        if scalars:
            found.append(_record(_event(step, scalars)))
    return b"".join(found)


def crc32c(data: bytes) -> int:
    """The CRC-32C of some bytes (Castagnoli; RFC 3720)."""
    found = 0xFFFFFFFF
    for byte in data:
        found = _TABLE[(found ^ byte) & 0xFF] ^ (found >> 8)
    return found ^ 0xFFFFFFFF


def _table() -> tuple[int, ...]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        found.append(value)
    return tuple(found)


_TABLE = _table()


def _is_finite(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and abs(value) < 3e38  # a scalar is of single precision
    )


def _record(data: bytes) -> bytes:
    """One TFRecord: length, its masked checksum, the data, theirs."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    found = crc32c(data)
    turned = (found >> 15) | (found << 17)
    return struct.pack("<I", (turned + 0xA282EAD8) & 0xFFFFFFFF)


def _event(step: int, scalars: Mapping[str, float] | None = None, version: str = "") -> bytes:
    """An `Event`: 1 wall time, 2 step, 3 file version, 5 summary."""
    parts = [
        _tag(1, _EIGHT_BYTES) + struct.pack("<d", float(step)),
        _tag(2, _VARINT) + _varint(step),
    ]
    if version:
        parts.append(_field(3, version.encode()))
    values = [  # a `Summary.Value`: 1 tag, 2 simple value
        _field(1, name.encode()) + _tag(2, _FOUR_BYTES) + struct.pack("<f", value)
        for name, value in (scalars or {}).items()
    ]
    if values:
        parts.append(_field(5, b"".join(_field(1, value) for value in values)))
    return b"".join(parts)


def _field(number: int, content: bytes) -> bytes:
    return _tag(number, _LENGTH) + _varint(len(content)) + content


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
