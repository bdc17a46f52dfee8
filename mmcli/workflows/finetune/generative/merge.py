"""`merge` of a generative model: a plain transformers folder, or the adapter by itself.

Prints nothing.
"""

import shutil
import warnings
from pathlib import Path
from typing import Any

from mmcli.core.errors import UsageError
from mmcli.tasks.generative.loading import load_network
from mmcli.workflows.finetune.generative.files import ADAPTER, WHOLE, GenerativeModel
from mmcli.workflows.output_files import clear_folder, local_folder, refuse_folder


def merge_generative(
    model: str, output: str, *, adapter: bool = False, verify: str = "once", force: bool = False
) -> dict[str, Any]:
    """Write the whole model out, an adapter written into its base; adapter: the adapter instead.

    Raises UsageError for an adapter that a model does not have, BadInput when something is there.
    """
    opened, target = GenerativeModel.open(model, verify), Path(output)
    form = str(opened.config["form"])
    if adapter and form != ADAPTER:
        raise UsageError(f"`{model}` is a whole model", "leave out `--adapter`")
    base = local_folder(str(opened.config["base"]["reference"]))
    refuse_folder(target, [opened.path, *base], force)
    clear_folder(target)
    if adapter or form == WHOLE:
        shutil.copytree(opened.folder, target, dirs_exist_ok=True)
    else:
        _write_merged(opened, target)
    return {
        "folder": output,
        "family": opened.config["family"],
        "base": opened.config["base"]["reference"],
        "form": "peft adapter" if adapter else "transformers folder",
    }


def _write_merged(opened: GenerativeModel, target: Path) -> None:
    """In fp32, so that what the adapter adds is not rounded away."""
    from peft import PeftModel

    base = opened.base()
    network = load_network(base, "float32", "cpu")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about models that it does not know by name
        merged: Any = PeftModel.from_pretrained(network, str(opened.folder)).merge_and_unload()
    merged.generation_config.eos_token_id = list(opened.dialect(base).stops)
    merged.save_pretrained(target)
    base.processor.save_pretrained(target)
