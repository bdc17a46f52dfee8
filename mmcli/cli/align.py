"""`mmcli align`: train a map between modalities, and apply it to a store."""

import typer

from mmcli.cli import align_apply, align_attention, align_compare, align_train

EPILOG = """\b
Examples:
  mmcli align train store -o aligner --between text,image
  mmcli align train store -o aligner --between text,image --method contrastive --seeds 3
  mmcli align apply aligner store -o aligned"""

app = typer.Typer(
    help="Bring modalities into one space, and apply the map that was found.",
    epilog=EPILOG,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (align_train, align_apply, align_compare, align_attention):
    command.register(app)
