"""Curves of a fine-tuning as the event file of TensorBoard."""

from pathlib import Path

import pytest

from mmcli.workflows.finetune.scalars import crc32c, scalars_file
from tests.tasks.event_files import events_of, fields_of

HISTORY = [
    {"epoch": 1, "loss": 1.5, "score": None, "step": 300, "lr": float("nan")},
    {"epoch": 1, "loss": -0.25, "stage": "tune", "step": 1, "kept": True},
    {"epoch": 7, "loss": 2},
    {"stage": "tune", "seed": 3, "epoch": 2, "loss": 0.5, "step": 2},
]


def test_curves_as_events() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720's check value
    first, *others = events_of(scalars_file(HISTORY))
    assert first == {1: 0.0, 2: 0, 3: b"brain.Event:2"}
    read = []
    for event in others:
        assert event[1] == event[2]  # no clock
        values = [dict(fields_of(v)) for n, v in fields_of(event[5]) if n == 1]
        read.append((event[2], {v[1].decode(): v[2] for v in values}))
    assert read == [
        (300, {"epoch": 1.0, "loss": 1.5}),
        (1, {"tune/epoch": 1.0, "tune/loss": -0.25}),
        (7, {"epoch": 7.0, "loss": 2.0}),
        (2, {"tune/seed-3/epoch": 2.0, "tune/seed-3/loss": 0.5}),
    ]
    assert scalars_file(HISTORY) == scalars_file(HISTORY)
    assert len(events_of(scalars_file([]))) == 1


def test_tensorboard_reads_them(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (tmp_path / "events.out.tfevents.mmcli").write_bytes(scalars_file(HISTORY))
    found = accumulator.EventAccumulator(str(tmp_path))
    found.Reload()
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [(300, 1.5), (7, 2.0)]
    assert [(e.step, e.value) for e in found.Scalars("tune/loss")] == [(1, -0.25)]
