"""Weights on their way into a model: found in packages, hashed, put on a device.

Weights are read from safetensors, or by `torch.load(weights_only=True)`; no pickle is executed.
Packages that ship weights are located, never imported.
"""

import hashlib
import importlib.util
import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput, MissingResource
from mmcli.engine.attention import attention
from mmcli.engine.device import Placement
from mmcli.engine.fast_linear import accelerate, applies
from mmcli.engine.torch_stack import load_torch

_CONVERT = "convert it to safetensors where you trust it"
#: Ends of names of weights that a forward pass in evaluation does not use.
_ONLY_IN_TRAINING = ("masked_spec_embed", "mask_token", "logit_scale", "logit_bias", "temperature")
#: Files that hold weights in a model folder, safest first.
_WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin", "model.pth", "pytorch_model.pth")


def package_file(package: str, relative: str, sha256: str, distribution: str) -> Path:
    """A file that an installed package ships, checked against its pinned hash.

    Raises MissingResource when the package is not installed, BadInput when the file is not the
    expected one.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingResource(
            f"package `{distribution}` is not installed", "pip install 'mmcli[starter]'"
        )
    path = Path(spec.origin).parent / relative
    if not path.is_file():
        raise BadInput(f"`{path}` is missing", f"pip install --force-reinstall {distribution}")
    found = file_sha256(path)
    if found != sha256:
        raise BadInput(
            f"`{path}` is not the expected file: its sha256 is {found[:12]}..., not"
            f" {sha256[:12]}...",
            f"pip install --force-reinstall {distribution}",
        )
    return path


def file_sha256(path: Path) -> str:
    """Hex digest of a file; read once as long as its size, times and inode stay the same."""
    found = path.stat()
    return _digest(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


@lru_cache(maxsize=64)
def _digest(path: Path, *version: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a model folder, of the safest kind it has.

    Raises MissingResource when there are none.
    """
    for pattern in _WEIGHT_FILES:
        found = sorted(folder.glob(pattern))
        if found:
            return found
    raise MissingResource(
        f"`{folder}` holds no weights", "there should be a model.safetensors beside config.json"
    )


def folder_sha256(files: Iterable[Path]) -> str:
    """One digest for the files of a model: the file's own when there is one, else over all."""
    digests = [(path.name, file_sha256(path)) for path in files]
    if len(digests) == 1:
        return digests[0][1]
    lines = "".join(f"{digest}  {name}\n" for name, digest in digests)
    return hashlib.sha256(lines.encode()).hexdigest()


def read_state(path: Path) -> dict[str, Any]:
    """The tensors of one weight file, on the CPU. Raises BadInput when it holds anything else."""
    torch = load_torch()
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about pickles that it then refuses
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling and parsing fail in many ways, all of them the file's
        raise BadInput(
            f"`{path}` is not a weight file that can be read safely", _CONVERT
        ) from error
    return dict(state.get("state_dict", state)) if isinstance(state, dict) else {}


def torch_dtype(placement: Placement) -> Any:
    """The torch type a placement names."""
    return getattr(load_torch(), placement.dtype)


#: Text models seen to work with states in fp32 between linear layers in bf16.
_MIXED = frozenset({"bert", "roberta", "xlm-roberta"})


def state_dtype(kind: str, placement: Placement) -> Any:
    """The torch type of a text model's states; kind: its `model_type`.

    fp32 where the linear layers are packed: they multiply in bf16 all the same, and residuals
    added up in fp32 leave the nearest neighbour of 99 % of real sentences as it is (98.7 % of
    the Tux Paint captions in bf16, 99.6 % so), for a twentieth of the speed.
    """
    return load_torch().float32 if is_mixed(kind, placement) else torch_dtype(placement)


def is_mixed(kind: str, placement: Placement) -> bool:
    """Whether a text model multiplies in bf16 and keeps its states in fp32."""
    return kind in _MIXED and applies(placement)


def settle(model: Any, placement: Placement, channels_last: bool = False, dtype: Any = None) -> Any:
    """The model for inference on its device: evaluation mode, no gradients, in the given type."""
    torch = load_torch()
    dtype = dtype or torch_dtype(placement)
    model = model.eval().requires_grad_(False).to(placement.device, dtype)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    return accelerate(model, placement)


def open_model(kind: Any, folder: Path, placement: Placement, **options: Any) -> Any:
    """A model of transformers' class `kind`, with all of its weights.

    Raises BadInput when the folder lacks some: transformers would draw them at random.
    """
    if getattr(kind, "_supports_attention_backend", False):
        options["attn_implementation"] = attention(placement)
    model, found = from_pretrained(
        kind.from_pretrained,
        folder,
        dtype=torch_dtype(placement),
        output_loading_info=True,
        **options,
    )
    missing = [k for k in sorted(found["missing_keys"]) if not k.endswith(_ONLY_IN_TRAINING)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadInput(
            f"`{folder}`: its weights lack `{missing[0]}`{more}", "get the whole model again"
        )
    return model


def from_pretrained(build: Any, folder: Path, **options: Any) -> Any:
    """`build(folder)` of transformers, its refusals in words a user can act on.

    Raises BadInput when the folder's weights or configuration do not load.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of them is raised as well
            return build(str(folder), local_files_only=True, **options)
    except ImportError as error:
        raise MissingResource(
            f"`{folder}` needs a package: {error}".split("\n")[0], "install it with pip"
        ) from error
    except Exception as error:  # corrupt files surface as many types, each naming the folder's file
        if "weights_only" in str(error):  # torch's words advise to switch the safety off
            raise BadInput(
                f"`{folder}`: its weights are a pickle that cannot be read safely", _CONVERT
            ) from error
        first = str(error).strip().split("\n")[0][:200]
        raise BadInput(
            f"`{folder}` cannot be loaded: {first}", "get the model again, or convert it"
        ) from error
