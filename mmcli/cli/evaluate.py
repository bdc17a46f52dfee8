"""`mmcli evaluate`: how good a space or a model is, with intervals."""

import typer

from mmcli.cli import (
    evaluate_pairs,
    evaluate_predictions,
    evaluate_retrieval,
    evaluate_robustness,
    evaluate_zeroshot,
)

EPILOG = """\b
Examples:
  mmcli evaluate retrieval store --query text --target image
  mmcli evaluate pairs store --query text --target image -o pairs.parquet
  mmcli evaluate zeroshot store --label category --prompt "a picture of {}"
  mmcli evaluate predictions predictions --against baseline
  mmcli evaluate robustness model store --only image"""

app = typer.Typer(
    help="Say how good a space or a model is, with intervals.",
    epilog=EPILOG,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    evaluate_retrieval,
    evaluate_pairs,
    evaluate_zeroshot,
    evaluate_predictions,
    evaluate_robustness,
):
    command.register(app)
