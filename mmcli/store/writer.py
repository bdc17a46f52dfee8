"""Writes a store shard by shard; the manifest, renamed last, makes it one.

Knows the files of a store, how a run that was cut off goes on, and how a finished store is replaced
file by file; nothing about sources, encoders or how the vectors are made.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.store.atomic import DirectoryLock, remove
from mmcli.store.finished import history, shard_files
from mmcli.store.hashes import check_files
from mmcli.store.manifest import STATE, file_record, write_manifest
from mmcli.store.parquet import open_parquet, read_rows, write_table
from mmcli.store.records import (
    Failure,
    KeyArrays,
    ShardRecord,
    failure_table,
    records_of,
    tensors_of,
)
from mmcli.store.survey import (
    FORMAT,
    STATE_FORMAT,
    Again,
    Found,
    check_output,
    check_same,
    last_generation,
    own_files,
)
from mmcli.store.tensors import save_tensors

__all__ = ["Failure", "KeyArrays", "ShardRecord", "StoreWriter", "check_output", "write_table"]


class StoreWriter:
    """The one writer of a store; a context manager that holds the lock of its directory.

    keys: what the manifest says of each key, `slug` and `dim` among it. source: what it says of the
    source; fingerprint: changes when the source does. Entering raises BadInput when the directory
    holds something that was not to be replaced, or was begun with other options.

    finished: shards already on the disk, each checked. already_complete: a finished store that was
    to be resumed; there is nothing to write, and `commit` changes nothing.
    """

    def __init__(
        self,
        path: str | Path,
        keys: Mapping[str, Mapping[str, Any]],
        source: Mapping[str, Any],
        options: Mapping[str, Any],
        fingerprint: str,
        force: bool = False,
        resume: bool = False,
    ) -> None:
        self.path = Path(path)
        self.keys = {key: dict(entry) for key, entry in keys.items()}
        self.source = dict(source)
        self.options = dict(options)
        self.fingerprint = fingerprint
        self.force = force
        self.resume = resume
        self.already_complete = False
        self._retry = False
        self._update = False
        self._generation = 0
        self._records: dict[int, ShardRecord] = {}
        self._drafts: dict[int, tuple[str, ShardRecord]] = {}
        self._before: dict[str, Any] | None = None
        self._committed = False
        self._wrote = False
        self._own_state = False
        self._lock = DirectoryLock(self.path)

    @classmethod
    def reopen(
        cls,
        path: str | Path,
        keys: Mapping[str, Mapping[str, Any]],
        source: Mapping[str, Any],
        options: Mapping[str, Any],
        fingerprint: str,
    ) -> "StoreWriter":
        """A writer of a finished store: the shards that are written again replace the old ones.

        The source may have changed, the options not. Until `commit` the old store stays valid.
        """
        writer = cls(path, keys, source, options, fingerprint)
        writer._retry = True
        return writer

    @classmethod
    def updating(
        cls,
        path: str | Path,
        keys: Mapping[str, Mapping[str, Any]],
        source: Mapping[str, Any],
        options: Mapping[str, Any],
        fingerprint: str,
    ) -> "StoreWriter":
        """A writer of a finished store whose shards may also gain, lose and change rows.

        What it writes is a draft until `arrange` and `commit`: the store stays as it was. Drafts of
        an update that was cut off are still there (`draft`).
        """
        writer = cls.reopen(path, keys, source, options, fingerprint)
        writer._update = True
        return writer

    def draft(self, index: int, made_of: str) -> ShardRecord | None:
        """A shard that an update which was cut off wrote of the same rows, else None.

        made_of: names what it was made of.
        """
        drafted, record = self._drafts.get(index, ("", None))
        return record if drafted == made_of else None

    def arrange(self, records: Sequence[ShardRecord]) -> None:
        """Say which shards the store has from now on, in order; they are numbered anew."""
        start = 0
        self._records = {}
        for index, record in enumerate(records):
            self._records[index] = replace(record, index=index, start=start)
            start += record.rows
        self._wrote = True

    @property
    def generation(self) -> int:
        """Of the files that this writer writes."""
        return self._generation

    @property
    def finished(self) -> list[ShardRecord]:
        """The shards that are on the disk, by index."""
        return [self._records[index] for index in sorted(self._records)]

    def __enter__(self) -> "StoreWriter":
        self._made_directory = not self.path.exists()
        self._check()
        self._lock.__enter__()
        try:
            self._open(self._check())
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    def _check(self) -> Found:
        again: Again = "update" if self._update else "retry" if self._retry else ""
        return check_output(self.path, force=self.force, resume=self.resume, again=again)

    def _leave(self) -> None:
        """Give up the lock; a run that finished no shard leaves nothing behind."""
        idle = not (self._committed or self._wrote or self._records)
        if idle and self._own_state:
            remove(self.path / STATE)
        self._lock.__exit__(None, None, None)
        if idle and self._made_directory:
            with suppress(OSError):
                self.path.rmdir()

    # -- opening ---------------------------------------------------------------------------

    def _open(self, found: Found) -> None:
        self._before = found.manifest
        slugs = self._slugs(found)
        if self._retry or self.resume:
            self._continue(found)
        elif found.manifest is not None:
            self._generation = last_generation(self.path) + 1
        if not found.damaged:  # else it is not known what is what
            self._sweep(slugs)
        if not self._retry and not self.already_complete:
            self._save_state()

    def _continue(self, found: Found) -> None:
        """Take over what an earlier run finished."""
        state, manifest = found.state, found.manifest
        if found.unfinished and state is not None:
            check_same(self.path, state, self.keys, self.options, self._same_source())
            self._generation = state["generation"]
            records = [ShardRecord(**entry) for entry in state["shards"]]
            intact = {r.index: r for r in records if self._intact(r)}
            if state["mode"] == "update":
                made_of = dict(zip((r.index for r in records), state["made_of"], strict=True))
                self._drafts = {index: (made_of[index], r) for index, r in intact.items()}
            else:
                self._records = intact
            if state["mode"] == "retry":
                self._retry = True
                self._wrote = True
        elif manifest is not None:
            fingerprint = manifest.get("source", {}).get("fingerprint")
            before = {**manifest, "fingerprint": fingerprint}
            check_same(self.path, before, self.keys, self.options, self._same_source())
            check_files(self.path, manifest)
            self._records = {r.index: r for r in records_of(manifest)}
            self._generation = last_generation(self.path) + 1
            self.already_complete = not self._retry
        if self._retry and manifest is not None:
            check_files(self.path, manifest)
            for record in records_of(manifest):  # one whose new files broke goes back to the old
                self._records.setdefault(record.index, record)

    def _same_source(self) -> str | None:
        return None if self._retry else self.fingerprint

    def _intact(self, record: ShardRecord) -> bool:
        try:
            return all(file_record(self.path / n) == kept for n, kept in record.files.items())
        except BadInput:
            return False

    # -- writing ---------------------------------------------------------------------------

    def write_shard(
        self,
        index: int,
        start: int,
        items: pa.Table,
        arrays: Mapping[str, KeyArrays],
        failures: Sequence[Failure] = (),
        counts: tuple[int, int, int] = (0, 0, 0),
        notes: Mapping[str, Any] | None = None,
        sources: pa.Table | None = None,
        made_of: str = "",
    ) -> ShardRecord:
        """Write the files of one shard and note it as finished.

        items: its rows with `id` and `has_<slug>`. counts: items ok, partial, failed. sources: what
        the rows were made from. made_of: of an update, what `draft` finds it by; without it, it is
        not found again. Raises OutOfResource when the disk is full, BadInput when a shard that
        replaces another has other ids.
        """
        if self.already_complete:
            raise RuntimeError("the store is complete")
        if self._retry and not self._update:
            self._check_ids(index, items)
        suffix = f"-{index:05d}" + (f".g{self._generation}" if self._generation else "")
        files: dict[str, str] = {}
        for key, entry in self.keys.items():
            tensors = tensors_of(key, entry, arrays[key], items.num_rows)
            files[key] = f"{entry['slug']}{suffix}.safetensors"
            save_tensors(self.path / files[key], tensors, {"key": key, **_described(entry)})
        items_file, failures_file = f"items{suffix}.parquet", None
        write_table(self.path / items_file, items)
        if failures:
            failures_file = f"failures{suffix}.parquet"
            write_table(self.path / failures_file, failure_table(failures))
        sources_file = None
        if sources is not None:
            sources_file = f"sources{suffix}.parquet"
            write_table(self.path / sources_file, sources)
        written = [items_file, *files.values()]
        written += [name for name in (failures_file, sources_file) if name]
        record = ShardRecord(
            index=index,
            start=start,
            rows=items.num_rows,
            items=items_file,
            keys=files,
            files={name: file_record(self.path / name) for name in written},
            ok=counts[0],
            partial=counts[1],
            failed=counts[2],
            failures=failures_file,
            notes=dict(notes or {}),
            failures_rows=len(failures),
            sources=sources_file,
        )
        if self._update:
            self._drafts[index] = (made_of, record)
        else:
            self._records[index] = record
            self._wrote = True
        self._save_state()
        return record

    def _check_ids(self, index: int, items: pa.Table) -> None:
        path = self.path / self._records[index].items
        old = read_rows(open_parquet(path), path, ["id"])
        if not old.column("id").equals(items.column("id").cast(pa.string())):
            raise BadInput(
                f"the source no longer has the items that `{self.path}` was made from",
                "use `--force` to make the store again",
            )

    def _save_state(self) -> None:
        kept = self.finished
        if self._update:
            kept = [record for made_of, record in self._drafts.values() if made_of]
        state = {
            "format": STATE_FORMAT,
            "mode": "update" if self._update else "retry" if self._retry else "write",
            "generation": self._generation,
            "keys": self.keys,
            "options": self.options,
            "fingerprint": self.fingerprint,
            "shards": [record.to_json() for record in kept],
            "made_of": [made_of for made_of, _ in self._drafts.values() if made_of],
            "versions": {"mmcli": "state"},  # so that the hash of itself is required
        }
        write_manifest(self.path, state, STATE)
        self._own_state = True

    # -- committing ------------------------------------------------------------------------

    def commit(self, versions: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Make the written shards a store, and drop what is no longer part of it.

        versions: of the packages that made it. Returns the manifest.
        """
        unchanged = self.already_complete or (self._retry and not self._wrote)
        if unchanged and self._before is not None:
            manifest = self._before
        else:
            manifest = self._manifest(versions or {})
            write_manifest(self.path, manifest)
        self._committed = True
        remove(self.path / STATE)
        slugs = self._slugs(Found(self._before))
        self._before = manifest
        self._records = {r.index: r for r in records_of(manifest)}
        self._sweep(slugs)
        return manifest

    def _manifest(self, versions: Mapping[str, str]) -> dict[str, Any]:
        files = shard_files(self.path, self.finished, self._generation)
        source = dict(self.source)
        source_root = source.pop("source_root", None)
        return {
            "format": FORMAT,
            "generation": self._generation,
            "keys": self.keys,
            **files,
            "source": {**source, "fingerprint": self.fingerprint},
            "source_root": source_root,
            "options": self.options,
            "versions": {"mmcli": "0", **versions},
            **(history(self.path, self._before) if self._before and self._retry else {}),
        }

    def _slugs(self, found: Found) -> set[str]:
        kept = [self.keys, (found.manifest or {}).get("keys", {})]
        kept.append((found.state or {}).get("keys", {}))
        return {e["slug"] for keys in kept for e in keys.values() if isinstance(e.get("slug"), str)}

    def _sweep(self, slugs: set[str]) -> None:
        """Drop temporary files, and shards that neither the manifest nor this run knows."""
        known = set((self._before or {}).get("files", {}))
        if self._before is not None:
            known.add(str(self._before.get("failures")))
        drafts = [] if self._committed else [record for _, record in self._drafts.values()]
        for record in [*self._records.values(), *drafts]:
            known |= {*record.files, str(record.failures)}
        for name in own_files(self.path, slugs):
            if name not in known:
                remove(self.path / name)


def _described(entry: Mapping[str, Any]) -> dict[str, Any]:
    names = ("encoder", "weights_sha256", "space", "normalized")
    return {name: entry[name] for name in names if name in entry}
