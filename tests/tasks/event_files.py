"""Reads the event files that TensorBoard reads, by the definition of their format."""

import struct
from typing import Any


def bitwise_crc32c(data: bytes) -> int:
    """The definition: a division by Castagnoli's polynomial, a bit at a time."""
    found = 0xFFFFFFFF
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (0x82F63B78 if found & 1 else 0)
    return found ^ 0xFFFFFFFF


def fields_of(data: bytes) -> list[tuple[int, Any]]:
    """Field numbers and values of a protobuf message, nested ones as bytes."""
    found, at = [], 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 0x80:
                return value

    while at < len(data):
        tag = varint()
        size = {1: 8, 5: 4}.get(tag & 7)
        if tag & 7 == 0:
            found.append((tag >> 3, varint()))
            continue
        size = varint() if size is None else size
        content = data[at : at + size]
        form = {1: "<d", 5: "<f"}.get(tag & 7)
        found.append((tag >> 3, struct.unpack(form, content)[0] if form else content))
        at += size
    return found


def events_of(data: bytes) -> list[dict[int, Any]]:
    """The events of a file, both checksums of each record checked."""
    found, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        content = data[at + 12 : at + 12 + size]
        for part, place in ((data[at : at + 8], at + 8), (content, at + 12 + size)):
            value = bitwise_crc32c(part)
            masked = ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
            assert struct.unpack_from("<I", data, place)[0] == masked
        found.append(dict(fields_of(content)))
        at += size + 16
    return found
