"""What a store's manifest says of a key is true of the vectors: unit length where it says so."""

import numpy as np
import pytest

from mmcli.core.errors import UsageError
from mmcli.engine.encode import encode_parts
from mmcli.workflows.extract.plan import ExtractConfig, key_entry, plan_keys
from tests.contracts.conftest import FP32

PARTS = {"text": ["a cat", "a cup of coffee"], "image": None}


@pytest.mark.parametrize(
    ("model", "modality", "unit"),
    [("clip", "text", True), ("clip", "image", True), ("bert", "text", False)],
)
def test_normalized_is_said_of_layers_too(tiny, model, modality, unit):
    config = ExtractConfig("source", "store", layers=(2,))
    parts = PARTS[modality] or list(np.full((2, 32, 32, 3), 90, np.uint8))
    plans = plan_keys(config, {modality: (f"local:{tiny(model)}",)}, FP32)
    assert [plan.layer for plan in plans] == [None, 2]
    for plan in plans:
        lengths = encode_parts(plan.encoder, parts, layer=plan.layer).pooled.norm(dim=1)
        assert key_entry(config, plan)["normalized"] is unit
        assert np.allclose(lengths, 1, atol=1e-5) is unit


def test_an_encoder_is_named_once(tiny):
    reference = f"local:{tiny('bert')}"
    with pytest.raises(UsageError, match="twice"):
        plan_keys(ExtractConfig("source", "store"), {"text": (reference, reference)}, FP32)
