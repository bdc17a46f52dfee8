"""What the blocks of every kind of made data do: how long they are, and the files they write."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def block_sizes(n: int, most: int) -> Sequence[int]:
    """How many of n each block makes: `most`, and the last one what is left."""
    return [min(most, n - start) for start in range(0, n, most)]


def write_file(path: Path, content: bytes) -> Mapping[str, Any]:
    """Write a file of a block; its entry as a manifest wants it."""
    path.write_bytes(content)
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
