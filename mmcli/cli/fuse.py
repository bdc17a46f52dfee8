"""`mmcli fuse`: train a fusion of modalities, apply it to a store."""

import typer

from mmcli.cli import fuse_apply, fuse_train

EPILOG = """\b
Examples:
  mmcli fuse train store -o model --label category --method hybrid:gated
  mmcli fuse apply model store -o fused
  mmcli predict model store -o predictions"""

app = typer.Typer(
    help="Fuse modalities early, late or in between, and see whether it helps.",
    epilog=EPILOG,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
fuse_train.register(app)
fuse_apply.register(app)
