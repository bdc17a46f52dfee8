"""`mmcli store`: join, filter and concatenate stores, bring vectors in and take them out."""

import typer

from mmcli.cli import store_concat, store_export, store_filter, store_import, store_join

EPILOG = """\b
Examples:
  mmcli store join photos labels.csv -o labelled
  mmcli store filter labelled -o cats --where "label = 'cat'"
  mmcli store concat cats dogs -o animals
  mmcli store import vectors.npy -o store --items items.csv --key image
  mmcli store export store -o vectors.parquet --to parquet"""

app = typer.Typer(
    help="Join, filter and concatenate stores; bring vectors in and take them out.",
    epilog=EPILOG,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (store_join, store_filter, store_concat, store_import, store_export):
    command.register(app)
