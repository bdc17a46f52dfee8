"""The options that say what a source is and who encodes it, for every verb that reads one."""

from typing import Annotated

import typer

from mmcli.core.errors import UsageError

Preset = Annotated[str, typer.Option("--preset", help="A set of encoders, one a modality.")]
Image = Annotated[
    list[str] | None, typer.Option("--image", help="Encoder of pictures; may be repeated.")
]
Text = Annotated[
    list[str] | None, typer.Option("--text", help="Encoder of texts; may be repeated.")
]
Speech = Annotated[
    list[str] | None, typer.Option("--speech", help="Encoder of recordings; may be repeated.")
]
Video = Annotated[
    list[str] | None,
    typer.Option(
        "--video", help="Encoder of videos, or of their frames; may be repeated. Needs PyAV."
    ),
]
Only = Annotated[
    list[str] | None, typer.Option("--only", help="Only these modalities, as in image,text.")
]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", help="Our column = theirs, as in image=img_path,text=caption."),
]
Root = Annotated[
    str | None, typer.Option("--root", help="What paths in a table or list are relative to.")
]
Explode = Annotated[
    str | None, typer.Option("--explode", help="Make a row of each element of this list column.")
]
Workers = Annotated[
    str, typer.Option("--workers", help="auto, or how many processes decode files.")
]


def pairs_of(option: str, values: list[str] | None, example: str) -> dict[str, str]:
    """The pairs of an option that takes `a=b,c=d` and may be repeated."""
    pairs = {}
    parts = (part.strip() for value in values or [] for part in value.split(","))
    for part in filter(None, parts):
        ours, equals, theirs = part.partition("=")
        if not equals or not ours or not theirs:
            raise UsageError(f"`{option} {part}`", f"write {example}")
        pairs[ours] = theirs
    return pairs


def number_or_auto(option: str, value: str) -> int | None:
    """A number, or None for `auto`."""
    if value == "auto":
        return None
    if not value.isdecimal():
        raise UsageError(f"`{option} {value}`", "give a number or auto")
    return int(value)


def numbers_of(option: str, values: list[str] | None) -> tuple[int, ...]:
    """The whole numbers of an option that takes `a,b` and may be repeated."""
    parts = [p.strip() for value in values or [] for p in value.split(",") if p.strip()]
    for part in parts:
        if not part.isdecimal():
            raise UsageError(f"`{option} {part}`", "give numbers, as in 4,8")
    return tuple(int(part) for part in parts)
