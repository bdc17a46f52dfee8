"""Imports torch and its companions in the one order that always works.

torchaudio 2.11 is its last release, built for CUDA 13.0, and refuses to be imported beside a torch
built for another CUDA minor version, although everything used from it here (resampling, mel,
MFCC) is plain torch code. transformers imports torchaudio when it is installed, so the refusal
would take every model with it. The version label is hidden while torchaudio is imported, once.
"""

import os
import warnings
from functools import cache
from typing import Any

from mmcli.engine.memory import keep_freed, limit_kernels


@cache
def load_torch() -> Any:
    """The torch module, with torchaudio imported beside it where that is possible."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    limit_kernels()
    keep_freed()
    import torch

    label = torch.version.cuda
    torch.version.cuda = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchaudio  # noqa: F401
    except ImportError:
        pass  # only the speech encoders need it, and say so themselves
    finally:
        torch.version.cuda = label
    return torch


@cache
def load_transformers() -> Any:
    """The transformers module, quiet: progress is the command's to show."""
    load_torch()
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers
