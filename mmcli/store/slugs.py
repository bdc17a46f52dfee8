"""The names of files: of an embedding key, of a generation. Knows nothing about files."""

import hashlib
import re

_PLAIN = re.compile(r"[a-z0-9_-]+(:[a-z0-9][a-z0-9._@+-]*)?")
_UNSAFE = re.compile(r"[^A-Za-z0-9._@+-]+")
_HASHED = re.compile(r"(.+)-[0-9a-f]{8}")
_LONGEST = 80


def slug_of(key: str) -> str:
    """What the files of a key are called: `image.x` for `image:x`.

    Safe on every file system, and different for different keys: where the name had to change, a
    hash of the key follows (capitals too, since some systems do not tell them from small letters).
    """
    if _PLAIN.fullmatch(key) and len(key) <= _LONGEST:
        return key.replace(":", ".", 1)
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    safe = _UNSAFE.sub("-", key.replace(":", ".", 1)).strip(".-")[: _LONGEST - 9]
    return f"{safe}-{digest}" if safe else f"key-{digest}"


def key_of(slug: str) -> str:
    """The key whose files are called so, where the slug can say it; else the slug."""
    hashed = _HASHED.fullmatch(slug)
    for stem in (slug, hashed[1] if hashed else slug):
        for key in (stem.replace(".", ":", 1), stem):
            if slug_of(key) == slug:
                return key
    return slug


def generation_name(stem: str, generation: int, suffix: str = "") -> str:
    """A file or folder as one generation has it: `index.faiss`, later `index.g1.faiss`."""
    return f"{stem}.g{generation}{suffix}" if generation else f"{stem}{suffix}"
