"""Arrays in safetensors files, the same bytes for the same arrays, on every version of the library.

Writes the format itself (an eight-byte length, a JSON header, the arrays) so that nothing is
copied; reads through the library, which checks the header. Knows nothing about stores.
"""

import json
import os
import stat
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from mmcli.core.errors import BadInput
from mmcli.store.atomic import atomic_file
from mmcli.store.manifest import canonical

Array = np.ndarray[Any, np.dtype[Any]]
_AGAIN = "make the directory that it belongs to again"
_CODES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "uint8": "U8",
    "bool": "BOOL",
}
_NAMES = {code: name for name, code in _CODES.items()}


def save_tensors(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, Any]) -> None:
    """Write arrays atomically; metadata is kept as one key, `mmcli`, that holds sorted JSON.

    The widest items come first, as the library orders them, so that every array is aligned.
    Raises OutOfResource when the disk is full.
    """
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"mmcli": canonical(metadata)}}
    end = 0
    for name in order:
        array = arrays[name]
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": _CODES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            array = np.ascontiguousarray(arrays[name])
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            if little.nbytes:
                file.write(memoryview(little.data).cast("B"))


class TensorFile:
    """A safetensors file, open for reading; arrays, or rows of them, are read when asked for.

    Raises BadInput that names the file when it is missing or not safetensors. Never unpickles.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise BadInput(f"`{path}` is not a regular file", _AGAIN)
            self._file: Any = safe_open(str(path), framework="numpy")
        except FileNotFoundError:
            raise BadInput(f"`{path}` is missing", _AGAIN) from None
        except (SafetensorError, OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise BadInput(f"`{path}` is not a safetensors file: {reason}", _AGAIN) from error

    def names(self) -> list[str]:
        """The arrays of the file."""
        return sorted(self._file.keys())

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array, without reading it."""
        return tuple(self._slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """The type of an array as the format spells it: `F32`, `BF16` …"""
        return str(self._slice(name).get_dtype())

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Rows `start` to `stop` of an array, copied from the file."""
        part = self._slice(name)
        code, shape = str(part.get_dtype()), tuple(part.get_shape())
        if code not in _NAMES:
            raise BadInput(
                f"`{self.path}`: `{name}` is {code}, which numpy cannot hold",
                "save it as F32 or F16",
            )
        if not shape:  # a single number has no rows
            scalar: Array = self._file.get_tensor(name)
            return scalar
        stop = shape[0] if stop is None else min(stop, shape[0])
        if stop <= start or 0 in shape:
            return np.zeros((max(0, stop - start), *shape[1:]), np.dtype(_NAMES[code]))
        found: Array = part[start:stop]
        return found

    def metadata(self) -> dict[str, Any]:
        """What mmcli wrote beside the arrays; empty in a file of another program."""
        text = (self._file.metadata() or {}).get("mmcli")
        try:
            content = json.loads(text) if text else {}
        except ValueError:
            content = {}
        return content if isinstance(content, dict) else {}

    def _slice(self, name: str) -> Any:
        try:
            return self._file.get_slice(name)
        except SafetensorError:
            have = ", ".join(f"`{n}`" for n in self.names()) or "nothing"
            raise BadInput(
                f"`{self.path}` has no `{name}`; it holds {have}", "make the store again"
            ) from None


def data_offset(path: Path, name: str) -> int:
    """Where in the file the bytes of an array begin, for mapping them into memory."""
    TensorFile(path).shape(name)  # the library has checked the header, and that the array is there
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return 8 + int(length) + int(header[name]["data_offsets"][0])


def load_tensors(path: Path) -> dict[str, Array]:
    """Every array of a file, in memory."""
    file = TensorFile(path)
    return {name: file.read(name) for name in file.names()}
