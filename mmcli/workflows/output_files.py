"""Whether an output may be written where the user said, asked before anything slow begins."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from mmcli.core.errors import BadInput, UsageError
from mmcli.store.manifest import MANIFEST, inspect_manifest, kind_of


def refuse_file(option: str, path: str | None, force: bool) -> None:
    """Raise BadInput unless a file can be written there; without a path there is nothing to ask."""
    if path is None:
        return
    place = Path(path)
    if os.path.isdir(place):  # which a name that no file can have is not, rather than an error
        raise BadInput(f"`{option} {path}` is a directory", "name a file")
    if not os.path.isdir(place.parent):
        raise BadInput(f"`{option} {path}`: its directory does not exist", "make it first")
    refuse_inside(option, place)
    if os.path.exists(place) and not force:
        raise BadInput(f"`{path}` already exists", "`--force` replaces it")


def refuse_page(path: str | None, force: bool) -> None:
    """`refuse_file` for `--html`, whose name must say what it is. Raises UsageError, BadInput."""
    if path is not None and Path(path).suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"`--html {path}` is not named *.html", "a page is HTML")
    refuse_file("--html", path, force)


def refuse_inside(option: str, place: Path) -> None:
    """Raise BadInput for a file among those of mmcli.

    Data that were synthesised are where people work: there only what the manifest names is kept.
    """
    real = place.resolve()
    for folder in real.parents:
        kind = mmcli_kind(folder)
        if kind == "mmcli.data":
            named = inspect_manifest(folder)[0].get("files") or {}
            kind = kind if real.relative_to(folder).as_posix() in named else ""
        if kind:
            raise BadInput(
                f"`{option} {place}` lies in a directory of mmcli ({kind})", "write it beside it"
            )


def refuse_input(output: str | Path, inputs: Iterable[str | Path]) -> None:
    """Raise BadInput when `-o` is a directory that is read, by whatever name, or one whose own
    files are read: `--force` would replace what the output is made of."""
    place = Path(output)
    if not os.path.exists(place):
        return
    for name in inputs:
        path = Path(name)
        if not os.path.exists(path):
            continue
        if place.samefile(path):
            raise BadInput(f"`-o {output}` is the input itself", "choose another `-o`")
        if path.is_file() and place.samefile(path.resolve().parent):
            raise BadInput(f"the input `{name}` lies in `-o {output}`", "choose another `-o`")


def refuse_folder(output: Path, inputs: Iterable[str | Path], force: bool) -> None:
    """Raise BadInput unless a plain folder may take the place of what is there.

    inputs: what is read for it, which must not lie there. A directory of mmcli is never replaced.
    """
    if not os.path.exists(output) or (output.is_dir() and not any(output.iterdir())):
        return
    place = output.resolve()
    for name in inputs:
        if place in [Path(name).resolve(), *Path(name).resolve().parents]:
            raise BadInput(f"`-o {output}` is or holds the input `{name}`", "choose another `-o`")
    kind = mmcli_kind(output)
    if kind:
        raise BadInput(f"`{output}` holds something else ({kind})", "choose another `-o`")
    if not force:
        raise BadInput(f"`{output}` is not empty", "choose another `-o`, or use `--force`")


def clear_folder(output: Path) -> None:
    """Remove what `refuse_folder` has let pass."""
    if output.exists():
        shutil.rmtree(output) if output.is_dir() else output.unlink()


def mmcli_kind(folder: Path) -> str:
    """`mmcli.store` and so on, of a directory that has a manifest of mmcli; else ""."""
    if not (folder / MANIFEST).is_file():
        return ""
    try:
        kind = kind_of(inspect_manifest(folder)[0])
    except BadInput:  # another program's, or beyond reading
        return ""
    return kind if kind.startswith("mmcli.") else ""


def local_folder(reference: str) -> list[Path]:
    """The directory that an encoder's reference names, `local:DIR` or `model:DIR#KEY`, if any."""
    scheme, _, rest = reference.partition(":")
    if scheme not in ("local", "model"):
        return []
    return [Path(rest.partition("#")[0] if scheme == "model" else rest).expanduser()]
