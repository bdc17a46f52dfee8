"""Which keys of a store are meant, and whether two keys hold vectors that may be mixed.

Compares what manifests say: space, width, normalisation, weights, layer and preprocessing, not
precision. Reads no vectors.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mmcli.core.errors import BadInput, SpaceMismatch
from mmcli.core.registry import suggestion
from mmcli.store.bindings import binding
from mmcli.store.manifest import canonical
from mmcli.store.reader import Store

#: What must be equal of two keys whose vectors stand in one; `must`: also where one does not say.
_COMPARED = (
    ("dim", True),
    ("normalized", True),
    ("space", False),
    ("weights_sha256", False),
    ("layer", True),
    ("preprocessing_sha256", False),
)


def chosen_keys(store: Store, wanted: Sequence[str], option: str = "--keys") -> list[str]:
    """The keys asked for, in their order; all of them when none are named."""
    if not wanted:
        return list(store.keys)
    for key in wanted:
        if key not in store.keys:
            raise BadInput(
                f"`{option} {key}`: `{store.path}` has no such key", suggestion(key, store.keys)
            )
    return list(dict.fromkeys(wanted))


def refuse_mixing(first: Store, second: Store, key: str, theirs: str | None = None) -> None:
    """Raise SpaceMismatch, naming both, unless a key of both stores holds vectors of one kind.

    theirs: the key's name in the second store, when it is another.
    """
    a, b = first.key(key), second.key(theirs or key)
    mine, other = {**a, **binding(a)}, {**b, **binding(b)}
    for name, must in _COMPARED:
        left, right = mine.get(name), other.get(name)
        if left != right and (must or (left and right)):
            raise SpaceMismatch(
                f"key `{key}`: {name} is {_shown(left)} in `{first.path}`,"
                f" {_shown(right)} in `{second.path}`",
                "vectors of different spaces cannot stand in one key; extract both alike",
            )
    for name in ("dtype", "sequence"):
        if a[name] != b[name]:
            raise BadInput(
                f"key `{key}`: {name} is {_shown(a[name])} in `{first.path}`,"
                f" {_shown(b[name])} in `{second.path}`",
                "extract both with the same `--store-dtype` and `--sequence`",
            )


def common_entry(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all entries of one key say alike; what only some say is kept, what they say otherwise
    is not."""
    kept: dict[str, Any] = {}
    for name in dict.fromkeys(name for entry in entries for name in entry):
        said = [entry[name] for entry in entries if entry.get(name) not in (None, "")]
        if not said:
            kept[name] = entries[0].get(name)
        elif len({canonical(value) for value in said}) == 1:
            kept[name] = said[0]
    kept["space"] = kept.get("space") or ""
    return kept


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if value in (None, ""):
        return "not said"
    return f"`{text[:12]}…`" if len(text) == 64 else f"`{text}`"
