"""Planted data: the store holds what the model says, and no one is better than the ceilings."""

import json
from collections import Counter, defaultdict
from itertools import combinations
from math import comb, erfc, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.planted.ceilings import ceilings, enumerated_by_size
from mmcli.data.planted.model import KINDS, Planted, encoders
from mmcli.data.planted.posterior import log_joint, log_odds, sampled_by_size
from mmcli.store.reader import Store
from mmcli.store.verification import verify_directory
from mmcli.workflows.data.planted import PlantedConfig, plant
from tests.conftest import Run

ROWS = 20_000
ONLY = {kind: tuple(float(kind == other) for other in KINDS) for kind in KINDS}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def by_definition(kind: str, seen: int, planted: Planted) -> float:
    """Accuracy of the best guess from that many parts, by counting on paper."""
    modalities, right = len(planted.dims), 1 - planted.label_noise
    if seen == 0:
        return 0.5
    if kind == "redundant":
        return right
    if kind == "complementary":
        share = seen / modalities
        return share * right + (1 - share) / 2
    if kind == "noisy":  # the majority decides, a draw is a coin
        chances = [
            comb(seen, wrong) * planted.bit_noise**wrong * (1 - planted.bit_noise) ** (seen - wrong)
            for wrong in range(seen + 1)
        ]
        return sum(
            chance if 2 * wrong < seen else chance / 2 if 2 * wrong == seen else 0
            for wrong, chance in enumerate(chances)
        )
    return right if seen == modalities else 0.5


@pytest.mark.parametrize("modalities", [2, 3, 4])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_ceilings_are_those_of_the_definition(modalities: int, missing: float) -> None:
    planted = Planted(
        dims=(8,) * modalities, shares=(0.1, 0.2, 0.3, 0.4), label_noise=0.15, bit_noise=0.3,
        missing=missing,
    )  # fmt: skip
    found = ceilings(planted)
    assert found["method"].startswith("exact")
    names = [
        "+".join(members)
        for size in range(modalities, 0, -1)
        for members in combinations(planted.keys, size)
    ]
    assert list(found["accuracy"]) == names
    for name in names:
        size = name.count("+") + 1
        expected = {
            kind: sum(
                comb(size, seen) * (1 - missing) ** seen * missing ** (size - seen)
                * by_definition(kind, seen, planted)
                for seen in range(size + 1)
            )
            for kind in KINDS
        }  # fmt: skip
        expected["all"] = sum(s * expected[k] for k, s in zip(KINDS, planted.shares, strict=True))
        expected["with_part"] = 1 - missing**size
        assert found["accuracy"][name] == pytest.approx(expected, abs=1e-8)


def test_what_redundant_and_synergistic_rows_are_worth() -> None:
    same = ceilings(Planted(dims=(8, 8, 8), shares=ONLY["redundant"]))["accuracy"]
    assert {figures["all"] for figures in same.values()} == {0.9}
    parity = ceilings(Planted(dims=(8, 8, 8), shares=ONLY["synergistic"]))["accuracy"]
    assert parity.pop("image+text+speech")["all"] == 0.9
    assert {figures["all"] for figures in parity.values()} == {0.5}
    assert set(parity["image"]) == {"with_part", "all", "synergistic"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Planted, Store]:
    planted = Planted(ROWS, (32, 16), missing=0.2, seed=3)
    path = tmp_path_factory.mktemp("planted") / "store"
    plant(PlantedConfig(str(path), planted))
    return planted, Store.open(path)


def read(planted: Planted, store: Store) -> tuple[Any, Any, Any, Any]:
    """Coordinates `(rows, modalities, kinds)`, presence, labels and kinds, from the files."""
    coordinates = np.stack(
        [
            store.load(key) @ matrix
            for key, matrix in zip(planted.keys, encoders(planted), strict=True)
        ],
        axis=1,
    )
    present = np.stack([store.has(key) for key in planted.keys], axis=1)
    items = store.items(["label", "kind"]).to_pydict()
    labels = np.array([label == "yes" for label in items["label"]], int)
    return coordinates, present, labels, np.array(items["kind"])


def test_a_table_of_codes_reaches_the_ceilings_and_no_more(made: tuple[Planted, Store]) -> None:
    """The classifier is brute force: of each code seen in one half, the more frequent label."""
    planted, store = made
    coordinates, present, labels, kinds = read(planted, store)
    codes = np.where(present[:, :, None], np.rint(coordinates), 9).astype(int)
    half = ROWS // 2
    for name, best in store.manifest["planted"]["ceilings"]["accuracy"].items():
        members = [planted.keys.index(key) for key in name.split("+")]
        seen = [code.tobytes() for code in codes[:, members]]
        table: dict[bytes, Counter[int]] = defaultdict(Counter)
        for code, label in zip(seen[:half], labels[:half].tolist(), strict=True):
            table[code][label] += 1
        guesses = [table[code].most_common(1)[0][0] for code in seen[half:]]
        right = np.array(guesses) == labels[half:]
        for kind in ("all", *KINDS):
            mine = right if kind == "all" else right[kinds[half:] == kind]
            error = sqrt(best[kind] * (1 - best[kind]) / len(mine))
            assert abs(mine.mean() - best[kind]) < 3 * error, (name, kind)


def test_the_exact_rule_reaches_the_ceilings_under_loud_noise(tmp_path: Path) -> None:
    planted = Planted(ROWS, (16,) * 3, (0.1, 0.3, 0.3, 0.3), noise=0.5, missing=0.1, seed=1)
    report = plant(PlantedConfig(str(tmp_path / "s"), planted))
    assert report["ceilings"]["method"].startswith("Monte Carlo")
    assert report["ceilings"]["standard_error"] < 0.001
    coordinates, present, labels, kinds = read(planted, Store.open(tmp_path / "s"))
    for name, best in report["ceilings"]["accuracy"].items():
        members = np.isin(planted.keys, name.split("+"))
        odds = log_odds(log_joint(coordinates, present & members, planted), planted)
        right = np.where(odds == 0, 0.5, (odds > 0) == labels)
        for kind in ("all", *KINDS):
            mine = right if kind == "all" else right[kinds == kind]
            error = sqrt(best[kind] * (1 - best[kind]) / len(mine))
            assert abs(mine.mean() - best[kind]) < 3 * error + 0.001, (name, kind)


def test_ceilings_under_noise_where_they_have_a_closed_form() -> None:
    noise = 0.7

    def beyond(distance: float) -> float:
        return 0.5 * erfc(-distance / noise / sqrt(2))

    dims = (8, 8)
    same, error, _ = sampled_by_size(Planted(dims=dims, shares=ONLY["redundant"], noise=noise))
    for seen in (1, 2):  # the mean of two is a bit seen in less noise
        q = beyond(sqrt(seen))
        assert same[seen, 0] == pytest.approx(0.9 * q + 0.1 * (1 - q), abs=4 * error)
    q = beyond(1)
    voted, error, _ = sampled_by_size(Planted(dims=dims, shares=ONLY["noisy"], noise=noise))
    assert voted[1, 2] == pytest.approx(0.8 * q + 0.2 * (1 - q), abs=4 * error)
    parity, error, _ = sampled_by_size(Planted(dims=dims, shares=ONLY["synergistic"], noise=noise))
    both = q * q + (1 - q) ** 2
    assert parity[2, 3] == pytest.approx(0.9 * both + 0.1 * (1 - both), abs=4 * error)
    assert parity[1, 3] == pytest.approx(0.5, abs=1e-9)
    one, error, _ = sampled_by_size(Planted(dims=dims, shares=ONLY["complementary"], noise=noise))
    sign = 0.9 * q + 0.1 * (1 - q)
    assert one[1, 1] == pytest.approx(sign / 2 + 0.25, abs=4 * error)


def test_the_two_ways_to_the_ceilings_agree() -> None:
    planted = Planted(dims=(8, 8, 8), shares=(0.2, 0.3, 0.3, 0.2), noise=0.1, bit_noise=0.3)
    found, _, draws = sampled_by_size(planted)
    np.testing.assert_allclose(found, enumerated_by_size(planted), atol=4 * 0.5 / sqrt(draws))


def test_rows_are_what_their_kind_says(made: tuple[Planted, Store]) -> None:
    planted, store = made
    coordinates, present, labels, kinds = read(planted, store)
    whole = present.all(axis=1)
    signs = np.rint(coordinates).astype(int)
    for place, kind in enumerate(KINDS):
        mine = whole & (kinds == kind)
        shown, wanted = signs[mine], 2 * labels[mine] - 1
        assert not np.delete(shown, place, axis=2).any()
        first, second = shown[:, 0, place], shown[:, 1, place]
        if kind == "redundant":
            assert (first == second).all()
            bit, right = first, 0.9
        elif kind == "complementary":
            assert (np.abs(first) + np.abs(second) == 1).all()
            assert abs(np.abs(first).mean() - 0.5) < 0.05
            bit, right = first + second, 0.9
        elif kind == "noisy":
            bit, right = second, 0.8
            assert abs((first == wanted).mean() - 0.8) < 0.03
        else:
            bit, right = -first * second, 0.9
            assert abs((first == wanted).mean() - 0.5) < 0.03
        assert abs((bit == wanted).mean() - right) < 0.03, kind
        assert abs(mine.mean() - 0.25 * 0.8**2) < 0.02
    rest = (coordinates - signs)[whole]
    assert rest.std() == pytest.approx(planted.noise, rel=0.01)
    outside = store.load("image")[present[:, 0]]
    matrix = encoders(planted)[0]
    outside = outside - (outside @ matrix) @ matrix.T
    assert outside.std() == pytest.approx(planted.noise * sqrt(28 / 32), rel=0.01)


def test_the_matrices_are_orthonormal() -> None:
    planted = Planted(dims=(4, 16, 33))
    for dim, matrix in zip(planted.dims, encoders(planted), strict=True):
        assert matrix.shape == (dim, len(KINDS))
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(len(KINDS)), atol=1e-12)


def test_the_store_is_a_sound_one(made: tuple[Planted, Store]) -> None:
    planted, store = made
    assert verify_directory(store.path).ok
    assert store.columns == ["id", "label", "kind", "split", "has_image", "has_text"]
    assert [store.keys[key]["dim"] for key in ("image", "text")] == [32, 16]
    assert store.keys["image"]["space"] != store.keys["text"]["space"]
    said = store.manifest["planted"]
    items = store.items().to_pydict()
    for column, name in (("label", "labels"), ("kind", "kinds"), ("split", "splits")):
        assert Counter(items[column]) == said[name]
    present = np.stack([store.has(key) for key in store.keys], axis=1)
    assert abs((~present).mean() - planted.missing) < 0.01
    assert said["rows_without_part"] == (~present.any(axis=1)).sum() > 0
    assert not store.load("text")[~present[:, 1]].any()
    assert store.load("text")[present[:, 1]].any(axis=1).all()
    for name, share in (("test", 0.4), ("val", 0.1), ("train", 0.5)):
        assert abs(said["splits"][name] / ROWS - share) < 0.02


def test_the_same_options_give_the_same_bytes(tmp_path: Path) -> None:
    planted = Planted(70_000, (4, 5, 6, 4, 4), missing=0.1, seed=5)
    plant(PlantedConfig(str(tmp_path / "a"), planted))
    plant(PlantedConfig(str(tmp_path / "b"), planted))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    store = Store.open(tmp_path / "a")
    assert [shard.rows for shard in store.shards] == [65_536, 4_464]
    assert set(store.keys) == {"image", "text", "speech", "video", "image:m5"}
    assert store.ids()[-1] == "00069999"
    assert verify_directory(store.path).ok
    plant(PlantedConfig(str(tmp_path / "c"), Planted(100, (4, 5), seed=6)))
    plant(PlantedConfig(str(tmp_path / "d"), Planted(100, (4, 5), seed=7)))
    other = [contents(tmp_path / name)["image-00000.safetensors"] for name in "cd"]
    assert other[0] != other[1]


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    few = Planted(50)
    plant(PlantedConfig(str(out), few))
    before = contents(out)
    with pytest.raises(BadInput, match="already holds a store") as caught:
        plant(PlantedConfig(str(out), Planted(60)))
    assert "--force" in caught.value.hint and "--resume" not in caught.value.hint
    assert contents(out) == before
    plant(PlantedConfig(str(out), Planted(60, (8, 8, 8)), force=True))
    assert set(Store.open(out).keys) == {"image", "text", "speech"}
    assert verify_directory(out).warnings == []
    (tmp_path / "work").mkdir()
    (tmp_path / "work/thesis.txt").write_text("three years")
    for force in (False, True):
        with pytest.raises(BadInput, match="thesis"):
            plant(PlantedConfig(str(tmp_path / "work"), few, force=force))
    (tmp_path / "cut").mkdir()
    state = {"format": "mmcli.store-state/1", "mode": "write"}
    (tmp_path / "cut/state.json").write_text(json.dumps(state))
    with pytest.raises(BadInput, match="unfinished"):
        plant(PlantedConfig(str(tmp_path / "cut"), few))
    plant(PlantedConfig(str(tmp_path / "cut"), few, force=True))
    assert Store.open(tmp_path / "cut").rows == 50


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    report = plant(PlantedConfig(str(tmp_path / "out"), Planted(50), dry_run=True))
    assert report["dry_run"] and report["ceilings"]["accuracy"]["image"]["synergistic"] == 0.5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n": 0}, "-n 0"),
        ({"dims": (8,)}, "--modalities 1"),
        ({"dims": (8,) * 7}, "--modalities 7"),
        ({"dims": (8, 3)}, "--dims 3"),
        ({"shares": (0.5, 0.2, 0.0, 0.0)}, "add up to 0.7"),
        ({"shares": (1.5, -0.5, 0.0, 0.0)}, "--redundant 1.5"),
        ({"label_noise": 0.6}, "--label-noise 0.6"),
        ({"bit_noise": float("nan")}, "--bit-noise nan"),
        ({"noise": -1.0}, "--noise -1"),
        ({"missing": 1.0}, "--missing 1"),
        ({"test_fraction": 0.7, "val_fraction": 0.3}, "leave nothing to train on"),
        ({"seed": -1}, "--seed -1"),
    ],
)
def test_what_cannot_be_made(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plant(PlantedConfig(str(tmp_path / "out"), Planted(**changes)))
    assert not (tmp_path / "out").exists()


def test_without_any_noise_the_store_holds_codes(tmp_path: Path) -> None:
    planted = Planted(200, (8, 8), ONLY["synergistic"], label_noise=0, noise=0)
    report = plant(PlantedConfig(str(tmp_path / "s"), planted))
    assert report["ceilings"]["accuracy"]["image+text"]["all"] == 1.0
    assert report["ceilings"]["bit_error"] == 0
    coordinates, _, labels, _ = read(planted, Store.open(tmp_path / "s"))
    bits = np.rint(coordinates[:, :, 3])
    np.testing.assert_allclose(coordinates[:, :, 3], bits, atol=1e-6)
    assert ((bits.prod(axis=1) < 0) == labels).all()


def test_the_command(run_here: Run, tmp_path: Path) -> None:
    words = ("data", "synth", "planted", "-o", "store", "-n", "500", "--json")
    done = run_here(*words, "--synergistic", "0.5", "--noisy", "0.5", "--dims", "8")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["shares"] == {
        "redundant": 0,
        "complementary": 0,
        "noisy": 0.5,
        "synergistic": 0.5,
    }
    assert report["dims"] == {"image": 8, "text": 8}
    manifest = json.loads((tmp_path / "store/manifest.json").read_text())
    assert manifest["planted"]["ceilings"] == report["ceilings"]
    assert run_here("verify", "store").returncode == 0
    done = run_here("data", "split", "store", "-o", "s.parquet", "--stratify-by", "label", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["rows"] == 500
    done = run_here("data", "synth", "planted", "-o", "three", "-n", "90", "--modalities", "3")
    assert done.returncode == 0, done.stderr
    head = next(line for line in done.stdout.splitlines() if line.startswith("best accuracy"))
    assert head.split() == ["best", "accuracy", "with_part", "all", *KINDS]
    assert Store.open(tmp_path / "three").keys["speech"]["dim"] == 32
    again = run_here("data", "synth", "planted", "-o", "three", "-q")
    assert again.returncode == 3 and "--force" in again.stderr
    assert "planted" in run_here("data", "synth", "-h").stdout
    for wrong in (
        ("--dims", "8,8,8"),
        ("--dims", "8,x"),
        ("--noisy", "0.5"),
        ("--modalities", "1"),
    ):
        done = run_here("data", "synth", "planted", "-o", "out", *wrong)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 2, done.stderr
    assert not (tmp_path / "out").exists()
