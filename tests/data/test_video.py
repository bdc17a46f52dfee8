"""Videos: the right frames, upright, whatever lies between key frames; broken ones say why."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mmcli.data.audio import read_audio
from mmcli.data.decode import PartTask, decode_parts
from mmcli.data.durations import media_seconds
from mmcli.data.files import PartError
from mmcli.data.media_container import media_facts
from mmcli.data.recipes import AudioRecipe, ImageRecipe, VideoRecipe
from mmcli.data.soundtrack import read_soundtrack
from mmcli.data.suffixes import modality_of, split_suffix
from mmcli.data.video import frame_times, read_video
from tests.films import film, flat, sound_alone

SMALL = ImageRecipe(32, 32)
EIGHT = VideoRecipe(SMALL, 8)
#: A second of each grey, so that a frame tells its second.
SECONDS = 20
GREYS = [(flat(20 + 11 * second), 1.0) for second in range(SECONDS)]


def seconds_of(frames: "np.ndarray[Any, Any]") -> list[int]:
    """The second that each frame was shown in."""
    return [round((float(frame.mean()) - 20) / 11) for frame in frames]


@pytest.mark.parametrize(
    ("name", "codec", "every"),
    [
        ("a.mp4", "mpeg4", 12),
        ("a.mp4", "libx264", 250),
        ("a.mkv", "libx264", 12),
        ("a.webm", "libvpx-vp9", 40),
        ("a.mov", "libx264", 30),
        ("a.avi", "mpeg4", 12),
    ],
)
def test_frames_are_those_shown_at_their_times(
    tmp_path: Path, name: str, codec: str, every: int
) -> None:
    path = str(film(tmp_path / name, GREYS, codec=codec, every=every))
    assert media_facts(path).video_s == pytest.approx(SECONDS, abs=0.2)
    for span in (None, (4.0, 8.0), (19.0, 20.0), (0.0, 0.5), (2.3, 17.9)):
        (frames,) = read_video(path, [EIGHT], span)
        assert frames.shape == (8, 32, 32, 3) and frames.dtype == np.uint8
        wanted = [int(t) for t in frame_times(*(span or (0.0, SECONDS)), 8)]
        assert seconds_of(frames) == wanted


def test_recipes_do_not_depend_on_each_other(tmp_path: Path) -> None:
    path = str(film(tmp_path / "a.mp4", GREYS))
    three = VideoRecipe(ImageRecipe(20, 30), 3)
    together = read_video(path, [EIGHT, three], (1.0, 19.0))
    for recipe, frames in zip((EIGHT, three), together, strict=True):
        assert np.array_equal(frames, read_video(path, [recipe], (1.0, 19.0))[0])
    assert together[1].shape == (3, 20, 30, 3)


def test_one_picture_for_eight_frames(tmp_path: Path) -> None:
    path = str(film(tmp_path / "a.mp4", [(flat(200), 0.1)]))
    (frames,) = read_video(path, [EIGHT])
    assert frames.shape[0] == 8 and abs(int(frames.mean()) - 200) < 3


@pytest.mark.parametrize(("turn", "corner"), [(90, (1, 0)), (180, (1, 1)), (-90, (0, 1))])
def test_a_film_that_says_it_is_turned_comes_upright(
    tmp_path: Path, turn: int, corner: tuple[int, int]
) -> None:
    """turn: anticlockwise, as the display matrix counts; the bright corner was the upper left."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = 255
    path = str(film(tmp_path / "a.mp4", [(picture, 0.5)], turn=turn))
    (frames,) = read_video(path, [VideoRecipe(ImageRecipe(32, 32, "squash"), 1)])
    quarters = [[frames[0][y : y + 8, x : x + 8].mean() for x in (4, 20)] for y in (4, 20)]
    assert np.unravel_index(np.argmax(quarters), (2, 2)) == corner


def test_the_sound_of_a_video_by_spans(tmp_path: Path) -> None:
    rate = 16_000
    t = np.arange(6 * rate) / rate
    sound = (0.3 * np.sin(2 * np.pi * (300 + 100 * np.floor(t)) * t)).astype(np.float32)
    for name, codec in (("a.mp4", "mpeg4"), ("a.webm", "libvpx-vp9")):
        path = str(film(tmp_path / name, [(flat(9), 6.0)], codec=codec, sound=sound))
        assert media_seconds(path, "speech") == pytest.approx(6.0, abs=0.1)
        (whole,) = read_soundtrack(path, [AudioRecipe()])
        hz = whole.rate_hz
        for second in (0, 3, 5):
            (part,) = read_soundtrack(path, [AudioRecipe()], (second, second + 1))
            wanted = np.asarray(whole.samples)[second * hz : (second + 1) * hz]
            assert len(part.samples) == pytest.approx(hz, rel=0.01) and not part.truncated
            if name == "a.mp4":  # Matroska counts time in milliseconds only
                assert np.allclose(part.samples, wanted[: len(part.samples)], atol=1e-3)
            spectrum = np.abs(np.fft.rfft(part.samples))
            assert np.argmax(spectrum) == pytest.approx((300 + 100 * second), abs=6)
    (cut,) = read_soundtrack(path, [AudioRecipe(max_duration_s=1.0)])
    assert cut.truncated and len(cut.samples) == cut.rate_hz


@pytest.mark.parametrize("name", ["memo.m4a", "memo.M4B", "memo.aac", "memo.wma"])
def test_recordings_that_only_ffmpeg_reads(tmp_path: Path, name: str) -> None:
    t = np.arange(3 * 16_000) / 16_000
    sound = (0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    if name.endswith("M4B"):
        path = sound_alone(tmp_path / "memo.m4a", sound).rename(tmp_path / name)
    else:
        path = sound_alone(tmp_path / name, sound)
    assert modality_of(split_suffix(name)[1]) == "speech"
    assert media_seconds(str(path), "speech") == pytest.approx(3.0, rel=0.1)
    task = PartTask(0, "speech", str(path), True)
    ((result,), _, _) = decode_parts([task], {"speech": (AudioRecipe(),)})
    assert result.values is not None, result.message
    (heard,) = result.values
    samples = np.asarray(heard.samples)
    assert len(samples) / heard.rate_hz == pytest.approx(3.0, abs=0.2)
    spectrum = np.abs(np.fft.rfft(samples[: heard.rate_hz]))
    assert np.argmax(spectrum) == pytest.approx(440, abs=4)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_a_span_of_a_recording_is_what_the_whole_has_there(tmp_path: Path, kind: str) -> None:
    rate = 44_100
    t = np.arange(30 * rate) / rate
    sweep = (0.4 * np.sin(2 * np.pi * (200 + 40 * t) * t)).astype(np.float32)
    path = tmp_path / f"a.{kind}"
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        for start in range(0, len(sweep), rate):
            file.write(sweep[start : start + rate])
    whole = soundfile.read(path, dtype="float32")[0]
    (all_of_it,) = read_audio(str(path), [AudioRecipe()])
    assert np.abs(all_of_it.samples - whole).max() < 1e-4  # also where one block meets the next
    for start, stop in ((0.0, 2.0), (11.3, 12.0), (28.0, 31.0)):
        (part,) = read_audio(str(path), [AudioRecipe()], (start, stop))
        wanted = whole[round(start * rate) : round(stop * rate)]
        assert len(part.samples) == len(wanted) and not part.truncated
        assert np.abs(part.samples - wanted).max() < 1e-4
    with pytest.raises(PartError, match="ends before 40 s"):
        read_audio(str(path), [AudioRecipe()], (40.0, 41.0))


def decoded(path: Path, modality: str = "video") -> Any:
    recipe: Any = EIGHT if modality == "video" else AudioRecipe()
    task = PartTask(0, modality, str(path), True)
    (result,), _, _ = decode_parts([task], {modality: (recipe,)})
    return result


def test_broken_videos_say_why(tmp_path: Path) -> None:
    good = film(tmp_path / "good.avi", GREYS, codec="mpeg4")
    content = good.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    (tmp_path / "noise.mp4").write_bytes(b"\x00\x01nothing" * 500)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:5,\nhttp://localhost/a.ts\n")
    soundfile.write(tmp_path / "sound.ogg", np.zeros(4000, np.float32), 8000)
    (tmp_path / "sound.ogg").rename(tmp_path / "sound.mp4")
    (tmp_path / "dir.mp4").mkdir()
    found = {p.name: decoded(p) for p in sorted(tmp_path.iterdir())}
    assert {name: one.error for name, one in found.items()} == {
        "good.avi": "",
        "cut.avi": "corrupt",
        "noise.mp4": "corrupt",
        "empty.mp4": "empty",
        "list.mp4": "corrupt",
        "sound.mp4": "empty",
        "dir.mp4": "not-a-file",
    }
    assert "is cut short: it has no frame after" in found["cut.avi"].message
    assert found["sound.mp4"].message == "holds no video"
    assert decoded(tmp_path / "good.avi", "speech").message == "holds no sound"
    assert decoded(tmp_path / "gone.mp4").error == "missing"


def test_a_video_inside_another_file(tmp_path: Path) -> None:
    content = film(tmp_path / "a.mp4", GREYS).read_bytes()
    (tmp_path / "box.tar").write_bytes(b"x" * 512 + content + b"y" * 512)
    place = f"{tmp_path}/box.tar#512+{len(content)}:a.mp4"
    assert np.array_equal(
        read_video(place, [EIGHT])[0], read_video(str(tmp_path / "a.mp4"), [EIGHT])[0]
    )


def test_a_film_of_three_days_is_refused(tmp_path: Path) -> None:
    """Two frames far apart: what a header says would make millions of windows."""
    import av

    path = tmp_path / "long.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for second in (0, 3 * 86_400):
            frame = av.VideoFrame.from_ndarray(flat(90), format="rgb24")
            frame.pts = second
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert decoded(path).error == "too-large"
    with pytest.raises(PartError, match="says it lasts 2592"):
        media_facts(str(path))


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    """Half as wide as it is shown: a square crop takes the middle half of the height's width."""
    import av

    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, 20:44] = 255  # shown as 48 of 128 columns: the middle of the picture
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (frames,) = read_video(str(path), [VideoRecipe(ImageRecipe(48, 48), 1)])
    assert frames[0].mean() > 240
