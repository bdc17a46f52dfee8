"""The contract of every alignment method of the registry that maps vectors."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.align.aligner import Aligner
from mmcli.align.fitting import AlignOptions, FitRun
from mmcli.align.registry import METHODS
from mmcli.align.scoring import score_shared, score_towers, summary
from mmcli.core.registry import load_attribute
from mmcli.data.splits import SplitOptions
from mmcli.store.reader import Store
from mmcli.workflows.align.data import AlignData, DataConfig, load_data
from mmcli.workflows.align.train import TrainConfig, train
from tests.align.bound_pairs import bound_pairs
from tests.align.making import planted

NAMES = [
    f"{spec.name}:{variant}" for spec in METHODS if not spec.sequence for variant in spec.variants
]
#: Both keys of the shared space carry the cause, one through a poor map and one through a good one.
SHARED = {"text": "s@0123456789ab", "image": "s@0123456789ab"}


def fitted(
    store: Path, name: str, between: tuple[str, ...], **options: Any
) -> tuple[Any, AlignData]:
    method, _, variant = name.partition(":")
    data = load_data(Store.open(store), DataConfig(between))
    fit = load_attribute(METHODS.get(method).fit)
    chosen = AlignOptions(variant=variant, epochs=4, batch=64, hidden=16, **options)
    return fit(data.features, chosen, FitRun(seed=0)), data


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dims = {"text": 16, "image": 16, "image:other": 24}
    spaces = {**SHARED, "image:other": "o@0123456789ab"}
    absent = {"image": 0.1, "image:other": 0.1, "text": 0.05}
    path = tmp_path_factory.mktemp("planted") / "store"
    return planted(path, 240, dims, spaces=spaces, absent=absent)


@pytest.mark.parametrize("name", NAMES)
def test_towers_are_unit_vectors_of_one_width_and_batches_do_not_matter(
    name: str, store: Path
) -> None:
    found, data = fitted(store, name, ("text", "image"))
    towers = found.directions["both"]
    assert set(towers) == {"text", "image"}
    assert len({tower.dim for tower in towers.values()}) == 1
    for modality, tower in towers.items():
        part = data.features.parts[modality]
        rows = np.flatnonzero(part.present).astype(np.int64)[:40]
        vectors = tower.apply(part.take(rows))
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        singly = np.concatenate([tower.apply(part.take(rows[i : i + 1])) for i in range(40)])
        np.testing.assert_allclose(singly, vectors, atol=1e-5)
        empty = tower.apply(part.take(rows[:0]))
        assert empty.shape == (0, tower.dim)


class Told(AlignOptions):
    """Options that remember which of them were read."""

    def __getattribute__(self, name: str) -> Any:
        vars(Told).get("read", set()).add(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize("method", [spec.name for spec in METHODS])
def test_the_registry_names_the_options_that_a_method_reads(
    method: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = METHODS.get(method)
    if spec.sequence:
        store = bound_pairs(tmp_path / "pairs", 60)
    data = load_data(Store.open(store), DataConfig(("text", "image")), sequence=spec.sequence)
    read: set[str] = set()
    monkeypatch.setattr(Told, "read", read, raising=False)
    for variant in spec.variants or ("",):
        options = Told(variant=variant, epochs=1, batch=16, hidden=16)
        load_attribute(spec.fit)(data.features, options, FitRun())
    assert (read & {field.name for field in fields(AlignOptions)}) - {"variant"} == set(spec.reads)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides(name: str, store: Path) -> None:
    (one, _), (two, _) = (fitted(store, name, ("text", "image")) for _ in range(2))
    for modality, tower in one.directions["both"].items():
        for array, value in tower.arrays.items():
            np.testing.assert_array_equal(value, two.directions["both"][modality].arrays[array])


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_opened_it_maps_the_same(name: str, store: Path, tmp_path: Path) -> None:
    options = AlignOptions(epochs=2, batch=64, hidden=16)
    config = TrainConfig(
        str(store), str(tmp_path / "a"), DataConfig(("text", "image")), name, options,
        precision="fp32",
    )  # fmt: skip
    train(config)
    found, data = fitted(store, name, ("text", "image"))
    opened = Aligner.open(tmp_path / "a")
    assert set(opened.directions) == set(found.directions)
    opened.check(Store.open(store))
    if METHODS.get(name.partition(":")[0]).iterative:
        return  # of other epochs; that a run is repeatable is tested above
    for modality, tower in found.directions["both"].items():
        part = data.features.parts[modality]
        rows = np.flatnonzero(part.present).astype(np.int64)[:20]
        inputs = part.take(rows)
        np.testing.assert_allclose(opened.apply(modality, inputs), tower.apply(inputs), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_it_beats_the_space_that_was_shared(name: str, tmp_path: Path) -> None:
    """The shared key is noise, so that before is chance; the other key has the whole truth."""
    dims = {"text": 16, "image": 16, "image:other": 24}
    spaces = {**SHARED, "image:other": "o@0123456789ab"}
    planted(tmp_path / "s", 400, dims, spaces=spaces)
    method, _, variant = name.partition(":")
    data = load_data(Store.open(tmp_path / "s"), DataConfig(("text", "image")))
    fit = load_attribute(METHODS.get(method).fit)
    options = AlignOptions(variant=variant, epochs=20, batch=64)
    found = fit(data.features, options, FitRun(seed=0))
    before = summary(score_shared(data.features, data.test))
    after = summary(score_towers(data.features, found.directions["both"], data.test))
    assert before < 0.2
    assert after > before + 0.2


def test_a_fit_never_looks_at_test_rows(store: Path) -> None:
    """Scrambling them changes nothing, to the last bit."""
    for name in ("linear:auto", "contrastive:infonce", "dual:mmd"):
        data = load_data(Store.open(store), DataConfig(("text", "image")))
        towers = []
        for scrambled in (False, True):
            features = data.features
            if scrambled:
                parts = {}
                for modality, part in features.parts.items():
                    maps = {k: _Scrambled(m, data.test) for k, m in part.maps.items()}
                    parts[modality] = replace(part, maps=maps)
                features = replace(features, parts=parts)
            method, _, variant = name.partition(":")
            fit = load_attribute(METHODS.get(method).fit)
            options = AlignOptions(variant=variant, epochs=2, batch=64)
            towers.append(fit(features, options, FitRun(seed=0)).directions["both"])
        for modality, tower in towers[0].items():
            for array, value in tower.arrays.items():
                np.testing.assert_array_equal(value, towers[1][modality].arrays[array])


class _Scrambled:
    """A mapped key whose test rows are noise."""

    def __init__(self, mapped: Any, test: Any) -> None:
        self._mapped, self._test, self.dim = mapped, test, mapped.dim

    def take(self, rows: Any) -> Any:
        found = np.array(self._mapped.take(rows))
        wrong = np.isin(rows, self._test)
        noise = np.random.default_rng(1).standard_normal(found.shape)
        found[wrong] = noise[wrong]
        return found


def test_pairs_kept_by_share_are_whole_groups(tmp_path: Path) -> None:
    planted(tmp_path / "s", 400, twins=4)
    config = DataConfig(("text", "image"), positive_by="cause", paired=0.25)
    data = load_data(Store.open(tmp_path / "s"), config)
    blocks, counts = np.unique(data.features.blocks[data.features.train], return_counts=True)
    assert (counts == 4).all()
    left = data.features.unpaired["text"][0][1]  # type: ignore[index]
    assert not np.isin(data.features.blocks[left], blocks).any()
    assert len(left) > 2 * len(data.features.train)


def test_folds_are_compared_without_a_leak(tmp_path: Path) -> None:
    from mmcli.workflows.align.compare import CompareConfig, compare

    planted(tmp_path / "s", 240)
    from mmcli.workflows.data.split import SplitConfig, split

    split(SplitConfig(str(tmp_path / "s"), str(tmp_path / "f.parquet"), folds=3, group_by="cause"))
    data = DataConfig(
        ("text", "image"), positive_by="cause",
        splits=SplitOptions(split_file=str(tmp_path / "f.parquet")),
    )  # fmt: skip
    report = compare(
        CompareConfig(str(tmp_path / "s"), data, ("linear:ridge", "linear:procrustes"))
    )
    assert report["folds"] == [0, 1, 2]
    names = [row["method"] for row in report["table"]]
    assert names == ["linear:ridge", "linear:procrustes"]
    ridge = report["fold_scores"]["linear:ridge"]
    assert sum(fold["text-to-image"]["queries"] for fold in ridge) == 240
    row = report["table"][1]
    expected = np.mean(
        [
            b["text-to-image"]["hit@1"] - a["text-to-image"]["hit@1"]
            for a, b in zip(ridge, report["fold_scores"]["linear:procrustes"], strict=True)
        ]
    )
    assert row["text-to-image hit@1 gain"] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["contrastive", "dual"])
def test_a_few_hundred_pairs_of_unrelated_spaces_are_learned(name: str, tmp_path: Path) -> None:
    """With nothing said: too few steps once left 0.6 and 0.2 of what the closed form finds."""
    path = planted(tmp_path / "store", 600, noise=0.3)
    data = load_data(Store.open(path), DataConfig(("text", "image")))
    found = {}
    for method in ("linear", name):
        fit = load_attribute(METHODS.get(method).fit)
        variant = METHODS.get(method).variants[0]
        learned = fit(data.features, AlignOptions(variant=variant), FitRun(seed=0))
        found[method] = learned.score(data.features, data.test)["text-to-image"]["hit@1"]
    assert found["linear"] > 0.5
    assert found[name] > 0.9 * found["linear"]
