"""The worker's function on real files: good ones next to every kind of broken one; no torch."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmcli.core.errors import MissingResource
from mmcli.data.decode import PartTask, decode_parts
from mmcli.data.recipes import AudioRecipe, ImageRecipe, TextRecipe, VideoRecipe
from mmcli.data.seen import Seen, content_at, stat_of

RECIPES = {
    "image": (ImageRecipe(8, 8), ImageRecipe(4, 6, fit="pad")),
    "speech": (AudioRecipe(), AudioRecipe(max_duration_s=0.5)),
    "text": (TextRecipe(),),
}


def decode_one(modality, value, is_path=True):
    (result,), read_s, decode_s = decode_parts(
        [PartTask(3, modality, str(value), is_path)], RECIPES
    )
    assert (result.row, result.modality) == (3, modality)
    assert read_s >= 0
    assert decode_s >= 0
    assert (result.values is None) == bool(result.error)
    assert "\n" not in result.message
    return result


def test_good_parts_come_back_in_order_and_survive_a_process(tmp_path):
    Image.new("RGB", (10, 10), (255, 0, 0)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("\ufeffgrüß 你好\n", encoding="utf-8")
    soundfile.write(tmp_path / "a.wav", np.zeros(8000, np.float32), 8000)
    tasks = [
        PartTask(0, "text", str(tmp_path / "a.txt"), True),
        PartTask(1, "image", str(tmp_path / "a.png"), True),
        PartTask(2, "speech", str(tmp_path / "a.wav"), True),
        PartTask(3, "text", "\ufeffliteral", False),
        PartTask(4, "image", str(tmp_path / "missing.png"), True),
        PartTask(5, "video", str(tmp_path / "a.mp4"), True),
    ]
    text, image, sound, literal, missing, video = pickle.loads(
        pickle.dumps(decode_parts(tasks, RECIPES)[0])
    )
    assert (text.values, text.text) == (("grüß 你好\n",), "grüß 你好\n")
    assert [value.shape for value in image.values] == [(8, 8, 3), (4, 6, 3)]
    assert [len(w.samples) for w in sound.values] == [8000, 4000]
    assert [w.truncated for w in sound.values] == [False, True]
    assert literal.text == "literal"
    assert (missing.values, missing.error, missing.message) == (None, "missing", "does not exist")
    assert (video.error, video.message) == ("missing", "does not exist")


@pytest.mark.parametrize("modality", ["image", "speech", "text"])
def test_what_is_no_file(tmp_path, modality):
    (tmp_path / "dir").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "self").symlink_to("self")
    os.mkfifo(tmp_path / "pipe")
    kinds = {
        "gone": "missing",
        "link": "missing",
        "dir": "not-a-file",
        "pipe": "not-a-file",
        "empty": "empty",
        "self": "unreadable",
        "nul\0name": "unreadable",
    }
    for name, kind in kinds.items():
        assert decode_one(modality, f"{tmp_path}/{name}").error == kind, name
    assert decode_one(modality, "/dev/zero").error == "not-a-file"


def test_noise_is_corrupt(tmp_path):
    (tmp_path / "noise").write_bytes(np.random.default_rng(0).bytes(10_000))
    assert decode_one("image", tmp_path / "noise").error == "corrupt"
    assert decode_one("speech", tmp_path / "noise").error == "corrupt"
    assert decode_one("text", tmp_path / "noise").error == "encoding"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"caf\xe9", "encoding"),
        ("text".encode("utf-16"), "encoding"),
        (b"a\0b", "encoding"),
        (b" \n\t", "empty"),
        (b"\xef\xbb\xbf", "empty"),
    ],
)
def test_broken_texts(tmp_path, content, error):
    (tmp_path / "t.txt").write_bytes(content)
    assert decode_one("text", tmp_path / "t.txt").error == error


def test_a_text_file_that_is_too_large(tmp_path):
    with (tmp_path / "t.txt").open("wb") as stream:
        stream.truncate(16_000_001)
    assert decode_one("text", tmp_path / "t.txt").error == "too-large"


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", None), ("ogg", None), ("mp3", None)],
)
def test_recordings_of_any_kind_become_mono(tmp_path, suffix, subtype):
    rate, seconds = 22_050, 1.0
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([tone, np.zeros_like(tone)], 1), rate, subtype=subtype)
    whole, cut = decode_one("speech", path).values
    assert (whole.rate_hz, whole.samples.dtype, whole.samples.ndim) == (rate, np.float32, 1)
    assert abs(len(whole.samples) - rate) < 3000  # MP3 pads
    assert 0.2 < np.abs(whole.samples).max() < 0.3
    assert (len(cut.samples), cut.truncated) == (rate // 2, True)


def test_long_recordings_with_many_channels_are_read_in_blocks(tmp_path):
    samples = np.tile(np.linspace(-0.5, 0.5, 300_000, dtype=np.float32)[:, None], 6)
    soundfile.write(tmp_path / "a.wav", samples, 1_000_000, subtype="FLOAT")
    whole, _ = decode_one("speech", tmp_path / "a.wav").values
    np.testing.assert_allclose(whole.samples, samples[:, 0], atol=1e-6)


def test_libmpg123_is_silenced(tmp_path, capfd):
    path = tmp_path / "a.mp3"
    soundfile.write(path, np.zeros(20_000, np.float32), 44_100)
    odd_tag = b"ID3\x04\0\0\0\0\x10\0" + b"TXXX\0\0\0\x02\0\0\0\0" * 20
    path.write_bytes(odd_tag + path.read_bytes())
    assert decode_one("speech", path).error == ""
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"


def test_broken_recordings(tmp_path):
    path = tmp_path / "a.wav"
    for value in (np.nan, np.inf):
        samples = np.zeros(100, np.float32)
        samples[50] = value
        soundfile.write(path, samples, 100, subtype="FLOAT")
        assert decode_one("speech", path).error == "non-finite"
    soundfile.write(path, np.zeros(0, np.float32), 100)
    assert decode_one("speech", path).error == "empty"
    soundfile.write(path, np.zeros(5000, np.float32), 8000)
    path.write_bytes(path.read_bytes()[:3000])
    assert decode_one("speech", path).message == "is cut short"


def test_a_huge_picture_and_a_huge_promise(tmp_path):
    Image.new("1", (20_000, 10_000)).save(tmp_path / "a.png")
    assert decode_one("image", tmp_path / "a.png").error == "too-large"


def test_a_worker_imports_no_torch(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    soundfile.write(tmp_path / "a.wav", np.zeros(100, np.float32), 8000)
    program = f"""
import sys
from mmcli.core.errors import MissingResource
from mmcli.data.decode import PartTask, decode_parts
from mmcli.data.recipes import AudioRecipe, ImageRecipe
tasks = [PartTask(0, "image", {str(tmp_path / "a.png")!r}, True),
         PartTask(0, "speech", {str(tmp_path / "a.wav")!r}, True)]
results, _, _ = decode_parts(tasks, {{"image": (ImageRecipe(4, 4),), "speech": (AudioRecipe(),)}})
assert not any(result.error for result in results), results
print(sorted({{"torch", "transformers", "pyarrow"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_what_a_file_looked_like_is_told_with_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a kitten", "utf-8")
    place = str(tmp_path / "a.txt")
    there, gone = PartTask(0, "text", place, True), PartTask(1, "text", place + "x", True)
    literal = PartTask(2, "text", "a kitten", False)
    results, _, _ = decode_parts([there, gone, literal], {"text": ()})
    assert results[0].seen == Seen(place, stat_of(place), content_at(place))
    assert results[1].seen is None and results[2].seen is None


def test_a_defect_of_ours_is_not_blamed_on_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a kitten", "utf-8")
    with monkeypatch.context() as broken, pytest.raises(NameError, match="split_suffix"):
        broken.delattr("mmcli.data.decode.split_suffix")
        decode_one("image", tmp_path / "a.png")
    with monkeypatch.context() as broken, pytest.raises(ImportError, match="read_span"):
        broken.delattr("mmcli.data.texts.read_span")
        decode_one("text", tmp_path / "a.txt")
    assert not decode_one("image", tmp_path / "a.png").error
    assert not decode_one("text", tmp_path / "a.txt").error


def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"a film")
    monkeypatch.setitem(sys.modules, "av", None)
    films = {"video": (VideoRecipe(ImageRecipe(4, 4), 2),)}
    with pytest.raises(MissingResource, match="PyAV"):
        decode_parts([PartTask(0, "video", str(tmp_path / "a.mp4"), True)], films)
