"""Sizes as people write them: `4GB`, `512MiB`, `1e9`."""

import re

from mmcli.core.errors import UsageError

_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_BINARY = {"KI": 1 << 10, "MI": 1 << 20, "GI": 1 << 30, "TI": 1 << 40}
_SIZE = re.compile(r"([0-9.]+(?:E[0-9]+)?)\s*([KMGT]I?)?B?")


def parse_bytes(option: str, text: str) -> int:
    """Bytes of a size with an optional unit, decimal (GB) or binary (GiB).

    Raises UsageError that names the option when it is no size, or less than one byte.
    """
    found = _SIZE.fullmatch(text.strip().upper())
    try:
        if found is None:
            raise ValueError
        size = float(found[1]) * (_UNITS | _BINARY)[found[2] or ""]
    except ValueError:
        size = 0.0
    if size < 1:
        raise UsageError(f"`{option} {text}` is not a size", "as in 4GB, 512MB or 2GiB")
    return int(size)
