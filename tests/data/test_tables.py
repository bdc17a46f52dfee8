"""Tables: types over the whole file, ids, `--map`, and errors that name the line."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.folders import BATCH_ROWS
from mmcli.data.source import SourceOptions, open_source


def read(tmp_path, name, content, **options):
    path = tmp_path / name
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content, encoding="utf-8", newline="")
    return open_source(SourceOptions(str(path), **options), tmp_path / "spool")


def items(source):
    return source.rows(0, source.n_items).to_pylist()


def refused(tmp_path, name, content, **options):
    with pytest.raises(BadInput) as caught:
        read(tmp_path, name, content, **options)
    return caught.value.message.replace(str(tmp_path) + "/", "")


def test_a_csv_gets_its_types_from_the_whole_file(tmp_path):
    content = (
        "\ufeffimage,n,x,yes,code,big,mixed,blank,text\r\n"
        'a.jpg,1,1,true,007,12345678901234567890,1,,"two\nlines, ""quoted"""\r\n'
        "\r\n"
        "b.jpg,,2.5,False,8,1,x,,5\r\n"
    )
    source = read(tmp_path, "t.csv", content)
    assert source.kind == "csv"
    assert source.root == str(tmp_path)
    assert not source.text_is_path
    assert source.modalities == ("image", "text")
    assert [str(t) for t in source.schema.types] == [
        "string", "string", "int64", "double", "bool", "string", "string", "string", "string",
        "string",
    ]  # fmt: skip
    first, second = items(source)
    assert first["id"] == "00000000"
    assert second["id"] == "00000001"
    assert (first["n"], first["x"], first["yes"], first["code"]) == (1, 1.0, True, "007")
    assert (second["n"], second["x"], second["yes"], second["blank"]) == (None, 2.5, False, None)
    assert first["text"] == 'two\nlines, "quoted"'
    assert second["text"] == "5"


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["-1", "0"], "int64"),
        (["9223372036854775808"], "string"),
        ([".5", "1e-3", "3."], "double"),
        (["1e999"], "string"),
        (["nan"], "string"),
        (["TRUE", ""], "bool"),
        (["1", "true"], "string"),
        (["1234567890123456", "0.5"], "string"),
    ],
)
def test_cell_types(tmp_path, cells, kind):
    source = read(tmp_path, "t.csv", "text,v\n" + "".join(f"a,{cell}\n" for cell in cells))
    assert str(source.schema.field("v").type) == kind
    expected = [cell or None for cell in cells]
    if kind == "string":
        assert [row["v"] for row in items(source)] == expected


def test_a_late_row_decides_the_type(tmp_path):
    lines = "".join(f"t,{i}\n" for i in range(BATCH_ROWS + 5))
    source = read(tmp_path, "t.csv", f"text,v\n{lines}t,x\n")
    assert source.schema.field("v").type == pa.string()
    assert source.rows(BATCH_ROWS + 4, BATCH_ROWS + 6)["v"].to_pylist() == [
        str(BATCH_ROWS + 4),
        "x",
    ]


def test_tsv_and_an_empty_table(tmp_path):
    assert items(read(tmp_path, "t.tsv", "id\ttext\nä\tb, c\n")) == [{"id": "ä", "text": "b, c"}]
    empty = read(tmp_path, "e.csv", "id,image,label\n")
    assert (empty.n_items, empty.modalities, empty.schema.names) == (
        0,
        (),
        ["id", "image", "label"],
    )
    assert empty.rows(0, 10).num_rows == 0


def test_jsonl_values(tmp_path):
    rows = [
        {"text": "a", "n": 1, "tags": ["x"], "who": {"age": 1}, "gone": None, "odd": {}},
        {"text": "", "n": 2.5, "who": {"age": 1.5, "name": "b"}},
        {"image": "i.jpg", "late": True},
    ]
    content = "\ufeff" + "\n\n".join(json.dumps(row) for row in rows)
    source = read(tmp_path, "t.jsonl", content)
    assert source.modalities == ("image", "text")
    first, second, third = items(source)
    assert (first["n"], second["n"], third["n"]) == (1.0, 2.5, None)
    assert (first["tags"], second["tags"]) == (["x"], None)
    assert first["who"] == {"age": 1.0, "name": None}
    assert (first["odd"], first["gone"], third["late"]) == ("{}", None, True)
    assert second["text"] is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a"', "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"text": "a", "v": 1, "v": 2}', 'not JSON: "v" stands twice in one object'),
        ('{"text": "a", "v": NaN}', "not JSON: a number may not be NaN"),
        ('{"text": "a", "v": 1e999}', "too large for a float64"),
        ('{"text": "a", "v": 99999999999999999999}', "too large for an int64"),
        ('{"text": "a", "v": "b"}', 'column "v" is int64 in earlier rows, here "b"'),
        ('{"text": "a", "v": true}', 'column "v" is int64 in earlier rows, here true'),
        ('{"text": 5}', 'column "text" must be a string or null, here 5'),
        ('{"text": "\\ud800"}', 'column "text" cannot hold'),
        ('{"text": "a", "deep": [1, "b"]}', 'column "deep"'),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_jsonl_line_is_named(tmp_path, line, message):
    found = refused(tmp_path, "t.jsonl", f'{{"text": "a", "v": 1}}\n\n{line}\n')
    assert found.startswith("t.jsonl:3: ")
    assert message in found
    assert "\n" not in found


def test_a_conflict_across_batches_is_named(tmp_path):
    lines = '{"text": "a", "v": [1]}\n' * (BATCH_ROWS + 3) + '{"text": "a", "v": ["x"]}\n'
    assert refused(tmp_path, "t.jsonl", lines).startswith(f't.jsonl:{BATCH_ROWS + 4}: column "v"')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('text,v\n"a\nb",1\nc\n', "t.csv:4: 1 cells, but the header names 2"),
        ('text,v\nok,1\n"a"b,1\n', "t.csv:3: "),
        ("text,text\n", "`t.csv`: two columns are named `text`"),
        (",text\n0,a\n", "`t.csv`: column 1 has no name"),
        (b"text\nok\n\xff\n", "t.csv:3: not UTF-8"),
        ("", "`t.csv` is empty"),
        ("a,b\n1,2\n", "`t.csv` has no column image, text, speech or video"),
        ("text,has_image\na,b\n", "`t.csv`: the column name `has_image` is reserved"),
        ("text,prediction\na,b\n", "`t.csv`: the column name `prediction` is reserved"),
        ("id,text\na,b\n,c\n", "t.csv:3: the id is empty"),
    ],
)
def test_a_bad_csv_is_named(tmp_path, content, message):
    assert refused(tmp_path, "t.csv", content).startswith(message)


def test_duplicate_ids_name_both_rows(tmp_path):
    rows = "".join(f"r{i},t\n" for i in range(BATCH_ROWS + 10))
    found = refused(tmp_path, "t.csv", f"id,text\n{rows}r7,again\n")
    assert found == f't.csv:{BATCH_ROWS + 12}: id "r7" is the id of t.csv:9 too'
    table = pa.table({"id": ["é", "e\u0301"], "text": ["a", "b"]})
    assert refused(tmp_path, "t.parquet", table) == (
        't.parquet:row 2: id "é" is the id of t.parquet:row 1 too'
    )


def test_json_ids_may_be_integers_but_not_missing(tmp_path):
    source = read(tmp_path, "t.jsonl", '{"id": 5, "text": "a"}\n{"id": "x", "text": "b"}\n')
    assert [row["id"] for row in items(source)] == ["5", "x"]
    late = '{"text": "a"}\n' * (BATCH_ROWS + 1) + '{"id": "x", "text": "a"}\n'
    assert refused(tmp_path, "t.jsonl", late) == f"t.jsonl:{BATCH_ROWS + 1}: the id is empty"
    late = '{"text": "a"}\n' * BATCH_ROWS + '{"id": "x", "text": "a"}\n'
    assert refused(tmp_path, "t.jsonl", late) == "t.jsonl:1: the id is empty"


def test_map_renames(tmp_path):
    content = "name,path,prediction\nk,a.jpg,1\n"
    mapping = {"id": "name", "image": "path", "old": "prediction"}
    source = read(tmp_path, "t.csv", content, mapping=mapping)
    assert items(source) == [{"id": "k", "image": "a.jpg", "old": 1}]
    with pytest.raises(BadInput, match="no column `pth`") as caught:
        read(tmp_path, "t.csv", content, mapping={"image": "pth"})
    assert caught.value.hint == "did you mean `path`?"
    beside = "image,path\na,b\n"
    assert "has a column `image` too" in refused(
        tmp_path, "t.csv", beside, mapping={"image": "path"}
    )
    swapped = read(tmp_path, "t.csv", beside, mapping={"image": "path", "path": "image"})
    assert items(swapped)[0] | {"id": 0} == {"id": 0, "path": "a", "image": "b"}
    with pytest.raises(UsageError, match="twice"):
        read(tmp_path, "t.csv", beside, mapping={"image": "path", "text": "path"})


def test_parquet(tmp_path):
    table = pa.table(
        {
            "label": pa.array(["a", "b", "a"]).dictionary_encode(),
            "image": pa.array(["x.jpg", "", None], pa.large_string()),
            "id": [3, 2, 1],
            "score": pa.array([1.5, None, 2.0], pa.float32()),
        }
    )
    source = read(tmp_path, "t.parquet", table)
    assert source.schema.names == ["id", "label", "image", "score"]
    assert source.schema.field("score").type == pa.float32()
    assert items(source)[:2] == [
        {"id": "3", "label": "a", "image": "x.jpg", "score": 1.5},
        {"id": "2", "label": "b", "image": None, "score": None},
    ]
    nested = pa.table({"image": [{"url": "x", "path": "a"}]})
    assert "not strings" in refused(tmp_path, "n.parquet", nested)
    assert "is not a Parquet file" in refused(tmp_path, "b.parquet", b"PAR1 no")
    renamed = read(tmp_path, "m.parquet", table, mapping={"text": "label"})
    assert renamed.modalities == ("image", "text")


def test_rows_are_read_at_random(tmp_path):
    n = 2 * BATCH_ROWS + 100
    source = read(tmp_path, "t.csv", "text,v\n" + "".join(f"t,{i}\n" for i in range(n)))
    for start, stop in ((0, 3), (BATCH_ROWS - 1, BATCH_ROWS + 1), (5, n), (n - 1, n + 50), (4, 4)):
        assert source.rows(start, stop)["v"].to_pylist() == list(range(n))[start:stop]


def test_jsonl_on_stdin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stdin = io.BytesIO(b'\n {"pic": "a.jpg", "v": 1}\n{"pic": "b.jpg"}\n')
    options = SourceOptions("-", mapping={"image": "pic"})
    source = open_source(options, tmp_path / "spool", stdin)
    assert (source.kind, source.root, source.n_items) == ("jsonl", str(tmp_path), 2)
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["source.parquet"]
    with pytest.raises(BadInput, match=r"^stdin:2: "):
        open_source(SourceOptions("-"), tmp_path / "spool", io.BytesIO(b'{"text": ""}\n{\n'))


def test_the_same_table_means_the_same(tmp_path):
    rows = [{"id": "a", "text": "x", "v": 1}, {"id": "b", "text": "y", "v": None}]
    contents = {
        "t.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "t.csv": "id,text,v\na,x,1\nb,y,\n",
        "t.parquet": pa.Table.from_pylist(rows),
    }
    for name, content in contents.items():
        source = read(tmp_path, name, content)
        assert items(source) == rows
        assert source.schema.types == [pa.string(), pa.string(), pa.int64()]
