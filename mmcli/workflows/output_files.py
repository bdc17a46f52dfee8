"""Whether an output may be written where the user said, asked before anything slow begins."""

from collections.abc import Iterable
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


def refuse_input(output: str | Path, inputs: Iterable[str | Path]) -> None:
    """Raise BadInput when `-o` is a directory that is read, by whatever name, or one whose own
    files are read: `--force` would replace what the output is made of."""
    place = Path(output)
    if not place.exists():
        return
    for name in inputs:
        path = Path(name)
        if not path.exists():
            continue
        if place.samefile(path):
            raise BadInput(f"`-o {output}` is the input itself", "choose another `-o`")
        if path.is_file() and place.samefile(path.resolve().parent):
            raise BadInput(f"the input `{name}` lies in `-o {output}`", "choose another `-o`")
