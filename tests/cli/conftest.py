"""What the tests of commands share."""

from tests.in_process import kept_models, run_here

__all__ = ["kept_models", "run_here"]
