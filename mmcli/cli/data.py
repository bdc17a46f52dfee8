"""`mmcli data`: split rows, and make data whose truth is known."""

import typer

EPILOG = """\b
Examples:
  mmcli data split store -o splits.parquet --test 0.2 --group-by caption
  mmcli data synth scenes -o scenes -n 2000"""

app = typer.Typer(
    help="Split rows for training and testing, and make data whose truth is known.",
    epilog=EPILOG,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
