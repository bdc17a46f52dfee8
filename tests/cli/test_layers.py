"""`extract --layers`: inner layers are narrower and have more places than the encoder's output."""

from pathlib import Path

import numpy as np
import soundfile as sf

from mmcli.store.reader import Store
from tests.conftest import Run, picture


def test_layers_of_a_network_that_widens(run_here: Run, tmp_path: Path) -> None:
    """It was an error that the third stage's 40 channels did not fit the output's 1280."""
    for i in range(2):
        picture(tmp_path / f"in/p{i}.png", i)
    words = ("--image", "efficientnet-lite0", "--layers", "3,5", "--sequence", "-q")
    done = run_here("extract", "in", "-o", "store", *words)
    assert done.returncode == 0, done.stderr
    store = Store.open(tmp_path / "store")
    for key, places, width in (("image", 49, 1280), ("image:efficientnet-lite0@3", 784, 40),
                               ("image:efficientnet-lite0@5", 49, 320)):  # fmt: skip
        entry = store.key(key)
        assert (entry["dim"], entry["sequence_dim"]) == (width, width)
        assert store.load(key).shape == (2, width)
        assert store.sequence(key, 1).shape == (places, width)
    assert run_here("verify", "store").returncode == 0


def test_an_encoder_without_layers_beside_one_that_has_some(run_here: Run, tmp_path: Path) -> None:
    tone = np.sin(np.arange(8000) / 20).astype(np.float32)
    for i in range(2):
        sf.write(tmp_path / f"a{i}.wav", tone, 16000)
    (tmp_path / "in.csv").write_text("speech\na0.wav\na1.wav\n")
    words = ("--speech", "whisper-tiny-en", "--speech", "logmel", "--layers", "2", "-q")
    done = run_here("extract", "in.csv", "-o", "store", *words)
    assert done.returncode == 0, done.stderr
    keys = set(Store.open(tmp_path / "store").keys)
    assert keys == {"speech", "speech:whisper-tiny-en@2", "speech:logmel"}
    done = run_here("extract", "in.csv", "-o", "none", "--speech", "logmel", "--layers", "2")
    assert done.returncode == 2 and "`logmel` has no layers" in done.stderr
