"""`store export`: a store's vectors and items in files that other programs read. Prints nothing.

A folder is made beside its place and renamed when it is whole; its manifest names every file. A
single file is written the same way.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.store.atomic import TEMPORARY, directory_exists, disk_errors, make_directory
from mmcli.store.manifest import MANIFEST, file_record, inspect_manifest, kind_of, write_manifest
from mmcli.store.reader import Store
from mmcli.store.rows import StoreRows
from mmcli.workflows.output_files import refuse_file
from mmcli.workflows.store.export_files import WRITERS, Exported
from mmcli.workflows.store.export_layout import EXPORT, EXPORT_FORMAT
from mmcli.workflows.store.keys import chosen_keys
from mmcli.workflows.store.output import Progress, cut_blocks, kept_entry

LAYOUTS = tuple(WRITERS)
#: Rows read and written at a time.
BLOCK_ROWS = 8_192


@dataclass(frozen=True)
class ExportConfig:
    """What `mmcli store export` can be told. to: one of `LAYOUTS`."""

    store: str
    output: str
    to: str
    keys: tuple[str, ...] = ()
    sequence: bool = False
    force: bool = False
    dry_run: bool = False
    verify: str = "once"


def export_store(
    config: ExportConfig, progress: Progress = lambda done, total: None
) -> dict[str, Any]:
    """Write the files and report what they hold.

    Raises BadInput when something is in the way, or the layout cannot hold the store.
    """
    if config.to not in LAYOUTS:
        raise UsageError(f"`--to {config.to}` is unknown", suggestion(config.to, LAYOUTS))
    if config.sequence and config.to != "npy":
        raise UsageError("`--sequence` is for `--to npy`", "other layouts hold one vector a row")
    output, single = Path(config.output), config.to in ("parquet", "jsonl")
    store = Store.open(config.store, config.verify)
    if store.path.resolve() in [output.resolve(), *output.resolve().parents]:
        raise BadInput(f"`-o {output}` lies in `{store.path}`", "write it beside the store")
    if single:
        _check_file(config, output)
    else:
        _check_folder(config, output)
    keys = _keys(config, store)
    reader = StoreRows(store, {key: key for key in keys})
    exported = Exported(
        reader,
        {key: kept_entry(store.keys[key], key) for key in keys},
        store.source_root,
        cut_blocks(reader.row_bytes(), BLOCK_ROWS),
        config.sequence,
        lambda done: progress(done, store.rows),
    )
    report: dict[str, Any] = {
        "output": config.output,
        "layout": config.to,
        "rows": store.rows,
        "keys": keys,
        "warnings": _left_out(config, store, keys),
    }
    if config.dry_run:
        return {"dry_run": True, **report}
    if single:
        make_directory(output.parent)
        WRITERS[config.to](exported, output)
        report["bytes"] = output.stat().st_size
        return report
    with _new_folder(output) as folder:
        WRITERS[config.to](exported, folder)
        report["bytes"] = _commit(folder, exported, config.to)
    return report


def _keys(config: ExportConfig, store: Store) -> list[str]:
    """The keys asked for. clip-retrieval has room for one of pictures and one of texts."""
    keys = chosen_keys(store, config.keys)
    if not keys:
        raise BadInput(f"`{store.path}` has no keys", "extract something into it first")
    if config.to != "clip-retrieval":
        return keys
    chosen: dict[str, str] = {}
    for key in keys:
        modality = key.partition(":")[0]
        if modality not in ("image", "text"):
            if config.keys:
                raise UsageError(
                    f"`--keys {key}`: clip-retrieval holds image and text", "export it `--to npy`"
                )
            continue
        if modality in chosen and config.keys:
            raise UsageError(
                f"`--keys {chosen[modality]},{key}`: clip-retrieval holds one of {modality}",
                "name one of them",
            )
        if modality not in chosen:
            chosen[modality] = key if config.keys else _plain_key(keys, modality)
    if not chosen:
        raise BadInput(
            f"`{store.path}` has no key of image or text", "clip-retrieval holds nothing else"
        )
    return list(chosen.values())


def _plain_key(keys: Sequence[str], modality: str) -> str:
    """The key named as the modality, else the first of it: a foreign store may have any order."""
    here = [key for key in keys if key.partition(":")[0] == modality]
    return modality if modality in here else here[0]


def _left_out(config: ExportConfig, store: Store, keys: Sequence[str]) -> list[str]:
    warnings = []
    sequences = [key for key in keys if store.keys[key]["sequence"]]
    if sequences and not config.sequence:
        how = "`--sequence` takes them along" if config.to == "npy" else "`--to npy` can hold them"
        warnings.append(f"the sequences of {', '.join(sequences)} are left out; {how}")
    others = [key for key in store.keys if key not in keys]
    if others and not config.keys:
        warnings.append(f"{config.to} does not hold {', '.join(others)}")
    return warnings


def _check_file(config: ExportConfig, output: Path) -> None:
    suffix = f".{config.to}"
    if output.suffix != suffix:
        raise UsageError(f"`-o {output}` is not named *{suffix}", f"`--to {config.to}` is a file")
    if output.parent.is_dir():
        refuse_file("-o", config.output, config.force)


def _check_folder(config: ExportConfig, output: Path) -> None:
    if not directory_exists(output):
        return
    if not any(output.iterdir()):
        return
    ours = (output / MANIFEST).is_file() and kind_of(inspect_manifest(output)[0]) == EXPORT
    if not ours:
        raise BadInput(f"`{output}` is not empty and holds no export", "choose another `-o`")
    if not config.force:
        raise BadInput(f"`{output}` already holds an export", "`--force` replaces it")


@contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """A folder to write to; it takes the place of `output` when the block ends without an error."""
    make_directory(output.parent)
    folder = output.with_name(f"{TEMPORARY}{output.name}-{os.getpid()}")
    old = folder.with_name(folder.name + "-old")
    with disk_errors(output.parent):
        try:
            folder.mkdir()
            yield folder
            if output.exists():
                os.replace(output, old)
            os.replace(folder, output)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def _commit(folder: Path, exported: Exported, layout: str) -> int:
    """Write the manifest. Returns the bytes of all files."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    files = {name: file_record(folder / name) for name in names}
    content = {
        "format": EXPORT_FORMAT,
        "layout": layout,
        "rows": exported.rows,
        "keys": {
            key: {"modality": key.partition(":")[0], "entry": exported.entry(key)}
            for key in exported.entries
        },
        "source_root": exported.source_root,
        "files": files,
        "versions": {"mmcli": version("mmcli"), "numpy": np.__version__},
    }
    write_manifest(folder, content)
    return sum(record["bytes"] for record in files.values())
