"""The packages that decide what an extraction gives, as a store's manifest names them."""

from importlib.metadata import PackageNotFoundError, version


def versions() -> dict[str, str]:
    """Version by package, of those that are installed."""
    found = {}
    for package in ("mmcli", "torch", "transformers", "timm", "ctranslate2", "numpy", "pillow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    found.setdefault("mmcli", "0")
    return found
