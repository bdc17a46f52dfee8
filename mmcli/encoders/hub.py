"""Model folders: fetched from the hub, or already on disk. Knows file names, no model class.

A repository is downloaded as a snapshot and then read like any other folder, so that what was read
can be hashed and its commit written down.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcli.core.errors import MissingResource
from mmcli.encoders.specs import ResolvedEncoder

#: Everything a supported model needs. Pickles are fetched only where there is nothing safer.
_SAFE = ["*.json", "*.txt", "*.model", "*.safetensors", "*.jinja"]
_PICKLES = ["pytorch_model*.bin", "*/pytorch_model.bin"]
_NEVER = ["onnx/*", "openvino/*", "coreml/*", "*.gguf", "*/*/*.safetensors", "open_clip_*"]


@dataclass(frozen=True)
class Folder:
    """A model folder and the commit it was fetched at (None for a local one)."""

    path: Path
    revision: str | None = None


def fetch(resolved: ResolvedEncoder, repository: str = "", code: bool = False) -> Folder:
    """The folder of a resolved reference, downloaded when it is not there yet.

    repository: taken instead of the reference's own location. code: Python files too.
    Raises MissingResource when the hub cannot be reached or does not have it.
    """
    if resolved.scheme == "local":
        return Folder(Path(resolved.location))
    repository = repository or resolved.location
    patterns = _SAFE + (["*.py"] if code else [])
    path = _snapshot(resolved, repository, patterns)
    if not any(path.glob("*.safetensors")):
        path = _snapshot(resolved, repository, patterns + _PICKLES)
    return Folder(path, path.name if len(path.name) == 40 else resolved.revision)


def fetch_config(resolved: ResolvedEncoder) -> Path:
    """A folder that holds at least the configuration of a hub repository."""
    return _snapshot(resolved, resolved.location, ["config.json", "modules.json"])


def _snapshot(resolved: ResolvedEncoder, repository: str, patterns: list[str]) -> Path:
    import huggingface_hub

    try:
        return Path(
            huggingface_hub.snapshot_download(
                repository,
                revision=resolved.revision,
                allow_patterns=patterns,
                ignore_patterns=_NEVER,
            )
        )
    except Exception as error:
        raise explain(resolved, repository, error) from error


def explain(resolved: ResolvedEncoder, repository: str, error: Exception) -> Exception:
    """What the hub's many exceptions mean to a user; anything else is passed through."""
    names = {kind.__name__ for kind in type(error).__mro__}
    at = f"@{resolved.revision}" if resolved.revision else ""
    what = f"`{resolved.reference}`: model {repository}{at}"
    if "GatedRepoError" in names:
        return MissingResource(
            f"{what} is gated", "accept its licence on the hub, then run `hf auth login`"
        )
    if "RevisionNotFoundError" in names:
        return MissingResource(f"{what} has no such revision", "check the revision on the hub")
    if "RepositoryNotFoundError" in names:
        return MissingResource(
            f"{what} does not exist on the hub", "check the name, or log in when it is private"
        )
    network = ("LocalEntryNotFoundError", "OfflineModeIsEnabled", "HfHubHTTPError", "HTTPError")
    if names & set(network) or isinstance(error, OSError | TimeoutError):
        return MissingResource(
            f"{what} cannot be fetched: the hub was not reached",
            "use `--preset starter`, which needs no hub, or a downloaded folder as `local:DIR`",
        )
    return error


def config_of(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of the folder as a dict; empty when there is no such file."""
    from mmcli.encoders.families import read_json

    path = folder / name
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def processor_part(folder: Path, *names: str) -> dict[str, Any]:
    """The first of these files, or parts of processor_config.json, that the folder has.

    names: as transformers calls them: `preprocessor_config.json`, `image_processor` …
    """
    whole = config_of(folder, "processor_config.json")
    for name in names:
        found = config_of(folder, name) if name.endswith(".json") else whole.get(name)
        if isinstance(found, dict) and found:
            return dict(found)
    return {}
