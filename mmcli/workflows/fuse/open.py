"""A fusion and a store it is to be applied to, checked against each other and ready to be read."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.tabular import Tabular
from mmcli.fusion.inputs import Inputs, Modality, View
from mmcli.fusion.model import FusionModel
from mmcli.store.reader import Store
from mmcli.workflows.fuse.data import TABULAR, check_bindings, open_inputs
from mmcli.workflows.fuse.text import VIEW as AS_TEXT
from mmcli.workflows.fuse.text import add_as_text


def inputs_for(model: FusionModel, store: Store, without: Sequence[str] = ()) -> Inputs:
    """What the model reads of a store; a modality that the store does not have is absent.

    Raises SpaceMismatch for a key of another encoder, BadInput where nothing it reads is there,
    UsageError for a modality in `without` that it does not know.
    """
    for name in without:
        if name not in model.modalities:
            raise UsageError(
                f"`--without {name}`: `{model.path}` does not read it",
                suggestion(name, model.modalities),
            )
    tabular = model.config.get("tabular")
    chosen = check_bindings(store, model.config["keys"], model.path, without)
    table = Tabular.from_json(tabular) if tabular is not None and TABULAR not in without else None
    found = open_inputs(store, chosen, table).modalities
    dims = model.config["view_dims"]
    ordered = {}
    for name in model.modalities:
        views = dims[name]
        modality = found.get(name)
        if modality is None:
            absent = {view: View(tuple(sizes)) for view, sizes in views.items() if view != "tokens"}
            modality = Modality(name, (), np.zeros(store.rows, bool), absent)
        _check_views(model, store, modality, views)
        modality.views = {v: modality.views[v] for v in views if v in modality.views}
        if AS_TEXT in views:  # filled below where there are texts
            modality.views[AS_TEXT] = View(tuple(views[AS_TEXT]))
        ordered[name] = modality
    inputs = Inputs(ordered, TABULAR if tabular is not None else "")
    if model.spec.view == AS_TEXT and inputs.modalities["text"].keys and table is not None:
        bound = model.config["keys"]["text"]
        add_as_text(store, inputs, bound, table.columns, "auto", "auto")
    inputs.restore(model.statistics)
    return inputs


def absent_modalities(inputs: Inputs) -> list[str]:
    """The modalities that the store has no keys of."""
    return [name for name, modality in inputs.modalities.items() if not modality.keys]


def absent_warnings(
    model: FusionModel, store: Store, inputs: Inputs, without: Sequence[str]
) -> list[str]:
    """One line a modality that the model reads and the store does not have."""
    return [
        f"`{store.path}` has no {name}, which `{model.path}` reads: it is absent from every row"
        for name in absent_modalities(inputs)
        if name not in without
    ]


def _check_views(model: FusionModel, store: Store, modality: Modality, views: Any) -> None:
    """A network that was trained on tokens or layers needs them, where the part is there."""
    wanted = model.spec.view
    if wanted == AS_TEXT:
        return
    if wanted in views and wanted not in modality.views and modality.present.any():
        raise BadInput(
            f"`{store.path}` has no {wanted} of {modality.name}, which `{model.path}` reads",
            "extract it with `--sequence`" if wanted == "tokens" else "extract it with `--layers`",
        )
