"""The keys of a store whose towers learn, and how to ask for their encoders again.

Loads no weights, so that what cannot be tuned is known before anything is trained.
"""

from mmcli.core.errors import BadInput, UsageError
from mmcli.encoders.registry import resolve
from mmcli.store.reader import Store
from mmcli.workflows.finetune.plan import FROZEN, Plan
from mmcli.workflows.fuse.data import FuseData
from mmcli.workflows.queries.plans import reference_of


def learning_keys(plan: Plan, store: Store, data: FuseData, view: str) -> list[tuple[str, str]]:
    """Keys of encoders that a strategy is for, each with its modality; layers are their encoder's.

    view: of the fusion; one that reads tokens has those of one key a modality.
    """
    found = []
    for name, modality in data.inputs.modalities.items():
        if name == data.inputs.tabular or plan.strategy(name) in FROZEN:
            continue
        own = [key for key in modality.keys if store.keys[key].get("layer") is None]
        found += [(key, name) for key in (own[:1] if view == "tokens" else own)]
    return found


def encoder_of(store: Store, key: str) -> str:
    """The reference of a key's encoder. Raises BadInput where the store does not say."""
    reference = reference_of(store.keys[key])
    if reference is None:
        raise BadInput(
            f"`{store.path}` does not say which encoder made key `{key}`",
            "extract it with mmcli, or use `--strategy probe`",
        )
    return reference


def check_encoders(plan: Plan, store: Store, data: FuseData) -> None:
    """Raise for towers that learn whichever fusion wins, and whose encoders are not known."""
    views = {method.view for method in plan.methods} | ({"tokens"} if plan.race else set())
    each = [set(learning_keys(plan, store, data, view)) for view in views]
    for key, modality in sorted(set.intersection(*each)):
        reference = encoder_of(store, key)
        try:
            resolve(reference, modality)
        except UsageError as error:
            raise BadInput(
                f"key `{key}` of `{store.path}` was made by an encoder that mmcli does not know:"
                f" `{reference}`",
                "use `--strategy probe`, or give the source itself instead of the store",
            ) from error
