"""Where the parts of a store's items are read again: the source's files, or texts themselves."""

from collections.abc import Sequence

from mmcli.core.errors import BadInput
from mmcli.data.contents import exists
from mmcli.data.places import locate
from mmcli.data.segments import PARENT, TIMES, spans_of
from mmcli.engine.parts import PartColumn
from mmcli.store.reader import Store


def part_columns(store: Store, modalities: Sequence[str]) -> dict[str, PartColumn]:
    """The parts of each modality by row, as absolute paths or as texts.

    Raises BadInput when the store does not say where its source was, or its first file is gone.
    """
    found = {}
    times = [name for name in (PARENT, *TIMES) if name in store.columns]
    table = store.items([*modalities, *times]) if modalities else None
    for modality in modalities:
        assert table is not None
        values = table.column(modality).to_pylist()
        there = store.has(modality) if modality in store.keys else None
        if there is not None:  # a part that could not be embedded cannot be trained on
            values = [v if h else None for v, h in zip(values, there.tolist(), strict=True)]
        if modality == "text":
            found[modality] = PartColumn(values, False)
            continue
        root = store.source_root
        if root is None:
            raise BadInput(
                f"`{store.path}` does not say where its {modality} files are",
                "give the source itself instead of the store",
            )
        paths = [None if v is None else locate(root, v) for v in values]
        first = next((i for i, p in enumerate(paths) if p is not None), None)
        if first is not None and not exists(str(paths[first])):
            raise BadInput(
                f"{store.ids()[first]}: {modality} `{paths[first]}` does not exist",
                f"`{store.path}` was extracted from files that are gone; towers learn from them",
            )
        found[modality] = PartColumn(paths, True, spans_of(table, modality, False))
    return found
