"""The manifest's own hash, its format line, and files that appear whole or not at all."""

import hashlib
import json
import os
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mmcli.core.errors import BadInput, OutOfResource
from mmcli.store.atomic import DirectoryLock, atomic_file, disk_errors, write_bytes
from mmcli.store.manifest import encode_manifest, file_path, read_manifest, write_manifest
from mmcli.store.slugs import slug_of
from mmcli.store.tensors import TensorFile, load_tensors, save_tensors

CONTENT = {"format": "mmcli.index/1", "versions": {"mmcli": "1"}, "b": [1.5, None], "a": "é"}


def test_the_hash_is_over_the_bytes_with_zeros_in_its_place(tmp_path):
    write_manifest(tmp_path, CONTENT)
    raw = (tmp_path / "manifest.json").read_bytes()
    assert raw == encode_manifest(dict(reversed(CONTENT.items())))
    found = list(json.loads(raw))
    assert found[:-1] == sorted(CONTENT) and found[-1] == "manifest_sha256"
    digest = json.loads(raw)["manifest_sha256"]
    assert hashlib.sha256(raw.replace(digest.encode(), b"0" * 64)).hexdigest() == digest
    assert read_manifest(tmp_path, "mmcli.index")["a"] == "é"


def test_every_flipped_byte_of_a_manifest_is_found(tmp_path):
    write_manifest(tmp_path, CONTENT)
    raw = (tmp_path / "manifest.json").read_bytes()
    for at in range(len(raw)):
        for bit in (1, 32):
            changed = bytearray(raw)
            changed[at] ^= bit
            (tmp_path / "manifest.json").write_bytes(changed)
            with pytest.raises(BadInput):
                read_manifest(tmp_path)


def test_a_path_that_is_not_unicode_can_be_written_down(tmp_path):
    write_manifest(tmp_path, {**CONTENT, "source_root": os.fsdecode(b"/data/\xff")})
    assert os.fsencode(read_manifest(tmp_path)["source_root"]) == b"/data/\xff"


def test_what_is_refused_says_why(tmp_path):
    for content, words in (
        ("{", "is damaged"),
        ("[]", "is not a JSON object"),
        ('{"format": "other/1"}', "no mmcli format line"),
        ("{}", "no mmcli format line"),
        ('{"format": "mmcli.store/2"}', "newer mmcli"),
        ('{"format": "mmcli.index/1"}', "is an index, not a store"),
        ('{"format": "mmcli.store/1", "versions": {"mmcli": "1"}}', "no valid hash of itself"),
    ):
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(BadInput, match=words):
            read_manifest(tmp_path, "mmcli.store")
    (tmp_path / "manifest.json").write_text('{"format": "mmcli.store/1.4"}')
    assert read_manifest(tmp_path, "mmcli.store")
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(BadInput, match="was not written by mmcli"):
        read_manifest(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(BadInput, match="is unfinished") as caught:
        read_manifest(tmp_path)
    assert "--resume" in caught.value.hint
    with pytest.raises(BadInput, match="does not exist"):
        read_manifest(tmp_path / "none")
    with pytest.raises(BadInput, match="is not a directory"):
        read_manifest(tmp_path / "state.json")


def test_a_name_never_leads_out_of_the_directory(tmp_path):
    for name in ("../x", "/etc/passwd", "a/../../x", "a\\b", "", "a\0"):
        with pytest.raises(BadInput, match="outside"):
            file_path(tmp_path, name)
    assert file_path(tmp_path, "query/text/model.onnx") == tmp_path / "query/text/model.onnx"


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "a") as temporary:
        temporary.write_bytes(b"ne")
        raise KeyboardInterrupt
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"old"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_names_the_directory(tmp_path):
    with (
        pytest.raises(OutOfResource, match=re.escape(f"no space left to write in `{tmp_path}`")),
        disk_errors(tmp_path),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")


def test_a_lock_is_held_by_one_and_leaves_nothing(tmp_path):
    with (
        DirectoryLock(tmp_path / "d"),
        pytest.raises(BadInput, match="another process"),
        DirectoryLock(tmp_path / "d", wait_s=0),
    ):
        pass
    with DirectoryLock(tmp_path / "d"):
        pass
    assert list((tmp_path / "d").iterdir()) == []


def test_tensors_are_the_same_file_that_the_library_writes(tmp_path):
    arrays = {
        "values": np.arange(6, dtype=np.float16).reshape(3, 2),
        "embeddings": np.arange(8, dtype=np.float32).reshape(2, 4),
        "offsets": np.array([0, 1, 3]),
        "none": np.zeros((0, 5), np.float32),
    }
    save_tensors(tmp_path / "a.safetensors", arrays, {"b": 1, "a": "é"})
    save_file(arrays, tmp_path / "b.safetensors", {"mmcli": '{"a":"é","b":1}'})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    for found in (load_file(tmp_path / "a.safetensors"), load_tensors(tmp_path / "a.safetensors")):
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    file = TensorFile(tmp_path / "a.safetensors")
    assert file.metadata() == {"a": "é", "b": 1}
    np.testing.assert_array_equal(file.read("embeddings", 1, 9), arrays["embeddings"][1:])
    with pytest.raises(BadInput, match=r"has no `x`; it holds `embeddings`"):
        file.read("x")


def test_strided_arrays_are_written_as_they_look(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    save_tensors(tmp_path / "a.safetensors", {"t": array.T, "big": array.astype(">f4")}, {})
    found = load_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(found["t"], array.T)
    np.testing.assert_array_equal(found["big"], array)


def test_slugs_are_safe_and_never_the_same():
    assert slug_of("image") == "image"
    assert slug_of("image:efficientnet-lite0") == "image.efficientnet-lite0"
    assert slug_of("image:efficientnet-lite0@4") == "image.efficientnet-lite0@4"
    keys = ["a:b", "a.b", "A:b", "a:B", "a:b/c", "a:b c", "a:b:c", "a:b.c", "中文", "../x", "",
            "a:", "x" * 300, "x" * 301, "a:.b", "a\0", "con", "a:hf:org/repo@main"]  # fmt: skip
    slugs = [slug_of(key) for key in keys]
    assert len({s.lower() for s in slugs}) == len(keys)
    for slug in slugs:
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,79}", slug), slug
