"""All static checks in one command: `python -m tests.check`.

ruff (lint and format), mypy, import-linter, and the generated help in the docs. What CI runs.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sys.executable).parent

CHECKS = {
    "ruff": [SCRIPTS / "ruff", "check", "mmcli", "tests"],
    "format": [SCRIPTS / "ruff", "format", "--check", "mmcli", "tests"],
    "mypy": [SCRIPTS / "mypy"],
    "imports": [SCRIPTS / "lint-imports"],
    "docs": [SCRIPTS / "cog", "--check", "examples/commands.md", "examples/encoders.md"],
}


def main() -> int:
    """Run every check; the number of those that failed is the exit code."""
    failed = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # the docs import `tests`
    for name, command in CHECKS.items():
        done = subprocess.run([str(word) for word in command], cwd=ROOT, env=environment)
        print(f"{name}: {'ok' if done.returncode == 0 else 'FAILED'}", flush=True)
        if done.returncode:
            failed.append(name)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
