"""Sound events in real recordings that nobody trained on: timelines mixed at run time.

Material, fetched by apt and never kept in the repository: Tux Paint's sound effects
(`tuxpaint-stamps-default`, GPL-2), the samples of Sonic Pi (`sonic-pi-samples`, CC0) and the
prompts of Asterisk (`asterisk-core-sounds-LANGUAGE-wav`, CC-BY-SA-3.0; ru CC-BY-3.0). What is held
out are recordings, of the voice whole speakers, and of the noise too; recordings that share a name
(`tabla_ghe1`, `tabla_ghe2`) or their samples stay together. Everything is brought to 8 kHz, the
rate of the prompts, so that no class is told by its bandwidth.
"""

import hashlib
import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.bench.material import stamps

Row = dict[str, Any]
Samples = np.ndarray[Any, np.dtype[np.float64]]

RATE_HZ = 8000
LANGUAGES = ("en", "fr", "it", "ru")
#: Every draw holds out other recordings.
DRAWS = 5
CLIPS = {"train": 320, "val": 60, "test": 120}
SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}
CLIP_S, LONGEST_S, SHORTEST_S = 10.0, 3.0, 0.15
#: How far events are above the noise, and how far below its loudest moment one begins and ends.
ABOVE_DB = (3.0, 23.0)
WITHIN_DB = 15.0
_FADE_S = 0.01
ENCODERS = (("logmel",), ("whisper-tiny-en",), ("logmel", "whisper-tiny-en"))
_SAMPLES = "usr/share/sonic-pi/samples"
#: Class to patterns below the Tux Paint stamps (T), Sonic Pi's samples (S).
CLASSES = {
    "bird": ["T/animals/birds/*.ogg", "S/misc_crow.flac"],
    "mammal": ["T/animals/mammals/**/*.ogg", "T/animals/marsupials/*.ogg"],
    "drum": ["S/bd_*.flac", "S/sn_*.flac", "S/drum_heavy_kick.flac", "S/drum_bass_*.flac",
             "S/drum_snare_*.flac", "S/drum_tom_*.flac", "S/elec_*kick.flac", "S/elec_*snare.flac",
             "S/elec_fuzz_tom.flac", "S/tabla_*.flac",
             "T/hobbies/music/percussion/drum_tomtom_floor.ogg"],
    "metal": ["S/drum_cymbal_*.flac", "S/drum_splash_*.flac", "S/drum_cowbell.flac",
              "S/elec_cymbal.flac", "S/perc_bell*.flac", "S/elec_bell.flac", "S/elec_chime.flac",
              "S/elec_triangle.flac", "S/elec_ping.flac", "S/elec_bong.flac",
              "T/hobbies/music/percussion/cymbal_crash.ogg"],
}  # fmt: skip
VOICE = "voice"
NOISE = ["S/ambi_*hum.flac", "S/ambi_drone.flac", "S/ambi_soft_buzz.flac", "S/ambi_sauna.flac",
         "S/ambi_lunar_land.flac", "S/vinyl_hiss.flac", "S/loop_3d_printer.flac",
         "T/household/Washing-machine.ogg", "T/household/vacuum_cleaner.ogg",
         "T/household/kettle.ogg", "T/household/toilet.ogg"]  # fmt: skip
_PROMPTS = 60
_SUFFIX = re.compile(r"(_(hard|soft|golden|white|lamb|m|ne|o|s))*[0-9]*$")


def real_events(cache: Path) -> list[Row]:
    """Mean average precision over held-out recordings, each encoder beside chance, five draws."""
    from mmcli.workflows.align.seed_intervals import mean_interval
    from mmcli.workflows.finetune.config import FinetuneConfig, TrickOptions
    from mmcli.workflows.finetune.streams.run import run

    found: dict[str, list[Row]] = defaultdict(list)
    classes: dict[str, list[float]] = defaultdict(list)
    for draw in range(DRAWS):
        data = clips(cache, draw)
        for encoders in ENCODERS:
            name = " + ".join(encoders)
            model = cache / "real-events" / f"model-{draw}-{'-'.join(encoders)}"
            config = FinetuneConfig(
                task="event",
                data=str(data / "items.jsonl"),
                output=str(model),
                encoders={"speech": encoders},
                seeds=1,
                tricks=TrickOptions(epochs=30),
                options={"rate_hz": 20.0},
                force=True,
            )
            report = run(config)
            found[name].append(report["table"][0])
            if encoders == ENCODERS[0]:
                found["chance"].append(report["table"][-1])
            if encoders == ENCODERS[-1]:
                for row in report["by_class"]:
                    classes[row["class"]].append(row["ap"])
    measures = ("map", "map@0.3", "map@0.5", "map@0.7", "event_f1")
    rows: list[Row] = []
    for name, tables in found.items():
        row: Row = {"model": name}
        for measure in measures:
            mean, half = mean_interval([float(one[measure]) for one in tables])
            row[measure], row[f"± {measure}"] = mean, half
        rows.append(row)
    for name, values in classes.items():
        mean, half = mean_interval(values)
        rows.append({"model": f"  {name}, {' + '.join(ENCODERS[-1])}", "map": mean, "± map": half})
    return rows


# -- mixing ----------------------------------------------------------------------------------------


def clips(cache: Path, draw: int) -> Path:
    """A table of mixed clips, those of a split made from recordings of that split alone."""
    import soundfile

    folder = cache / "real-events" / f"clips-{draw}"
    if (folder / "items.jsonl").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    material = {name: split(groups, draw) for name, groups in sorted(recordings(cache).items())}
    lines = []
    for part, count in CLIPS.items():
        rng = np.random.default_rng([draw, len(part), count])
        for number in range(count):
            mixed, events = mix({n: parts[part] for n, parts in material.items()}, rng, part)
            name = f"{part}-{number:04d}.flac"
            soundfile.write(folder / name, mixed, RATE_HZ, subtype="PCM_16")
            lines.append({"id": name[:-5], "speech": name, "events": events, "split": part})
    temporary = folder / "items.tmp"
    temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))
    temporary.rename(folder / "items.jsonl")
    return folder


def mix(material: dict[str, list[Samples]], rng: Any, part: str) -> tuple[Samples, list[Row]]:
    """Two to six events over noise; those of one class never overlap."""
    total = int(CLIP_S * RATE_HZ)
    ground = _ground(material["noise"], total, rng)
    mixed, events = ground.copy(), []
    names = [name for name in material if name != "noise"]
    for _ in range(int(rng.integers(2, 7))):
        name = names[rng.integers(len(names))]
        sound = material[name][rng.integers(len(material[name]))]
        if part == "train":  # faster or slower, so that pitch is not all that is learned
            sound = stretched(sound, rng.uniform(0.9, 1.1))
        start = int(rng.integers(0, total - len(sound)))
        start_s, end_s = start / RATE_HZ, (start + len(sound)) / RATE_HZ
        own = [e for e in events if e["class"] == name]
        if any(start_s < e["end_s"] + 0.1 and e["start_s"] < end_s + 0.1 for e in own):
            continue
        level = power(ground) * 10 ** (rng.uniform(*ABOVE_DB) / 20)
        mixed[start : start + len(sound)] += level * sound / power(sound)
        events.append({"class": name, "start_s": round(start_s, 3), "end_s": round(end_s, 3)})
    return mixed * min(1.0, 0.9 / float(np.abs(mixed).max())), events


def _ground(noise: list[Samples], total: int, rng: Any) -> Samples:
    """A recorded noise, noise of a colour, or both, from soft to loud."""
    colour = rng.uniform(0, 2)
    spectrum = np.fft.rfft(rng.standard_normal(total))
    hz = np.maximum(np.fft.rfftfreq(total, 1 / RATE_HZ), 30.0)
    made = np.fft.irfft(spectrum / hz ** (colour / 2), total)
    one = noise[rng.integers(len(noise))]
    at = int(rng.integers(0, len(one)))
    recorded = np.resize(np.roll(one, -at), total)
    share = rng.uniform(0, 1)
    level = float(np.exp(rng.uniform(np.log(0.003), np.log(0.03))))
    both = share * made / power(made) + (1 - share) * recorded / power(recorded)
    return np.asarray(level * both / power(both))


def power(samples: Samples) -> float:
    """Root mean square."""
    return max(1e-9, float(np.sqrt(np.mean(np.square(samples)))))


def stretched(samples: Samples, factor: float) -> Samples:
    """Played so much faster, by linear interpolation."""
    at = np.arange(0, len(samples) - 1, factor)
    return np.interp(at, np.arange(len(samples)), samples)


# -- material --------------------------------------------------------------------------------------


def split(groups: dict[str, list[Samples]], draw: int) -> dict[str, list[Samples]]:
    """Groups of recordings by split: never one group in two."""
    order = sorted(groups)
    Random(draw).shuffle(order)
    n = len(order)
    test = max(1, round(n * SHARES["test"]))
    val = max(1, round(n * SHARES["val"]))
    parts = {"test": order[:test], "val": order[test : test + val], "train": order[test + val :]}
    return {part: [s for name in names for s in groups[name]] for part, names in parts.items()}


def recordings(cache: Path) -> dict[str, dict[str, list[Samples]]]:
    """By class, by group: samples at 8 kHz, silence cut off both ends, at most three seconds."""
    root = stamps(cache)
    if root is None:
        raise SystemExit("Tux Paint's stamps cannot be fetched")
    places = {
        "T": root / "usr/share/tuxpaint/stamps",
        "S": unpacked(cache, "sonic-pi-samples") / _SAMPLES,
    }
    seen: set[str] = set()
    found: dict[str, dict[str, list[Samples]]] = {}
    for name, patterns in {**CLASSES, "noise": NOISE}.items():
        groups: dict[str, list[Samples]] = defaultdict(list)
        for pattern in patterns:
            place, _, rest = pattern.partition("/")
            for path in sorted(places[place].glob(rest)):
                samples = read(path)
                key = hashlib.sha256(samples.tobytes()).hexdigest()
                silent = float(np.abs(samples).max()) < 1e-4
                if "_desc" in path.stem or silent or key in seen:
                    continue
                seen.add(key)
                groups[_SUFFIX.sub("", path.stem)].append(
                    samples if name == "noise" else trimmed(samples)
                )
        found[name] = dict(groups)
    found[VOICE] = {
        language: [trimmed(read(path)) for path in prompts(cache, language)]
        for language in LANGUAGES
    }
    return found


def prompts(cache: Path, language: str) -> Iterator[Path]:
    """Some sixty prompts of a speaker that say more than a beep."""
    root = unpacked(cache, f"asterisk-core-sounds-{language}-wav")
    paths = [p for p in sorted(root.rglob("*.wav")) if 12_000 < p.stat().st_size < 80_000]
    yield from Random(0).sample(paths, _PROMPTS)


def unpacked(cache: Path, package: str) -> Path:
    """A Debian package's files, fetched once."""
    root = cache / package
    if not root.exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise SystemExit(f"apt-get and dpkg-deb are needed to fetch {package}")
        subprocess.run(["apt-get", "download", "-q", package], cwd=cache, check=True)
        archive = sorted(cache.glob(f"{package}_*.deb"))[-1]
        subprocess.run(["dpkg-deb", "-x", str(archive), str(root)], check=True)
    return root


def read(path: Path) -> Samples:
    """Mono samples at 8 kHz, by a Fourier transform of the whole."""
    import soundfile

    samples, rate_hz = soundfile.read(path, always_2d=True)
    mono = samples.mean(axis=1)
    count = max(1, round(len(mono) * RATE_HZ / rate_hz))
    spectrum = np.fft.rfft(mono)
    kept = np.zeros(count // 2 + 1, complex)
    both = min(len(kept), len(spectrum))
    kept[:both] = spectrum[:both]
    return np.fft.irfft(kept, count) * count / len(mono)


def trimmed(samples: Samples) -> Samples:
    """From the first to the last moment within 15 dB of the loudest, at most three seconds.

    A tail that fades away under the noise would have no end that anyone could name.
    """
    window = RATE_HZ // 50
    padded = np.pad(samples, (0, -len(samples) % window))
    loud = np.sqrt(np.square(padded.reshape(-1, window)).mean(axis=1))
    there = np.flatnonzero(loud > loud.max() * 10 ** (-WITHIN_DB / 20))
    start = int(there[0]) * window
    stop = min((int(there[-1]) + 1) * window, start + int(LONGEST_S * RATE_HZ))
    stop = max(stop, start + int(SHORTEST_S * RATE_HZ))
    part = np.pad(samples, (0, max(0, stop - len(samples))))[start:stop]
    ramp = np.minimum(1.0, np.arange(1, len(part) + 1) / (_FADE_S * RATE_HZ))
    return np.asarray(part * ramp * ramp[::-1])
