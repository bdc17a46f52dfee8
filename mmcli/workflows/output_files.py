"""Whether a single file may be written where the user said, asked before anything slow begins."""

from pathlib import Path

from mmcli.core.errors import BadInput


def refuse_file(option: str, path: str | None, force: bool) -> None:
    """Raise BadInput unless a file can be written there; without a path there is nothing to ask."""
    if path is None:
        return
    place = Path(path)
    if place.is_dir():
        raise BadInput(f"`{option} {path}` is a directory", "name a file")
    if not place.parent.is_dir():
        raise BadInput(f"`{option} {path}`: its directory does not exist", "make it first")
    if place.exists() and not force:
        raise BadInput(f"`{path}` already exists", "`--force` replaces it")
