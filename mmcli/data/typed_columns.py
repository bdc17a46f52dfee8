"""Columns of Parquet and Arrow files that hold more than their values: media bytes, class numbers.

Hugging Face datasets keep pictures and sounds as struct{bytes, path} and classes as numbers whose
names stand in the schema. Bytes become the place where they lie, numbers the names.
"""

import json
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcli.data.folders import printable

#: The place of the bytes of one row, by row in the batch, size and name.
PlaceOf = Callable[[int, int, str], str]


class TypedColumns:
    """What the columns of a schema become. media: columns whose plain binary is media too."""

    def __init__(self, schema: pa.Schema, media: Collection[str] = ()) -> None:
        self._classes = _class_names(schema)
        self._media = {f.name for f in schema if _is_media(f.type, f.name in media)}
        self.has_media = bool(self._media)
        self.schema = pa.schema([pa.field(f.name, self._type(f)) for f in schema])

    def _type(self, field: pa.Field) -> pa.DataType:
        if field.name in self._media or field.name in self._classes:
            return pa.string()
        return field.type.storage_type if isinstance(field.type, pa.ExtensionType) else field.type

    def convert(self, name: str, values: pa.Array, place_of: Callable[[pa.Array], PlaceOf]) -> Any:
        """The values as the schema has them. place_of: how to name the bytes of an array."""
        if name in self._media:
            return _places(name, values, place_of)
        if name in self._classes:
            return _named(values, self._classes[name])
        return values.storage if isinstance(values, pa.ExtensionArray) else values


def _is_media(kind: pa.DataType, wanted: bool) -> bool:
    if pa.types.is_struct(kind):
        names = {field.name for field in kind}
        return names == {"bytes", "path"} and _is_binary(kind.field("bytes").type)
    return wanted and _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _places(name: str, values: pa.Array, place_of: Callable[[pa.Array], PlaceOf]) -> pa.Array:
    paths: list[str | None] = [None] * len(values)
    if pa.types.is_struct(values.type):
        fields = dict(zip((f.name for f in values.type), values.flatten(), strict=True))
        values, paths = fields["bytes"], fields["path"].cast(pa.string()).to_pylist()
    sizes = pc.binary_length(values).to_pylist()
    place = place_of(values)
    found: list[str | None] = []
    for row, (size, path) in enumerate(zip(sizes, paths, strict=True)):
        if size is None:
            found.append(path or None)
        else:
            found.append(place(row, size, printable(os.path.basename(path or "") or name)))
    return pa.array(found, pa.string())


def _named(values: pa.Array, names: pa.Array) -> pa.Array:
    """Class numbers as names; -1, which stands for an unknown class, as null."""
    known = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(names)))
    return names.take(pc.if_else(known, values, pa.scalar(None, values.type)))


def _class_names(schema: pa.Schema) -> dict[str, pa.Array]:
    told = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(told)["info"]["features"] if told else {}
    except (ValueError, TypeError, KeyError):
        return {}
    found = {}
    for name, feature in features.items() if isinstance(features, Mapping) else ():
        labels = isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel"
        if labels and name in schema.names and pa.types.is_integer(schema.field(name).type):
            found[name] = pa.array([str(one) for one in feature.get("names") or []], pa.string())
    return {name: names for name, names in found.items() if len(names)}


def value_offsets(values: pa.Array, base: int, size: int) -> "np.ndarray[Any, Any] | None":
    """Where each value of a binary array begins in a mapped file that starts at address `base`.

    None when the values do not lie in those `size` bytes, as those of a compressed file.
    """
    _, offsets, data = values.buffers()
    if data is None:
        return np.zeros(len(values), np.int64)
    if not base <= data.address <= data.address + data.size <= base + size:
        return None
    kind = np.int64 if pa.types.is_large_binary(values.type) else np.int32
    starts = np.frombuffer(offsets, kind)[values.offset : values.offset + len(values)]
    return starts.astype(np.int64) + (data.address - base)
