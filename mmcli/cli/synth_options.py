"""The options that every `mmcli data synth` command has."""

from typing import Annotated

import typer

Output = Annotated[str, typer.Option("-o", "--output", help="The directory to write.")]
Seed = Annotated[int, typer.Option("--seed", help="Another seed makes other data.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be made; write nothing.")]
