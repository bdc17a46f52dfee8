"""`mmcli methods`: every method of the registries listed, and each shown with an example that runs.

The contract at the end holds for whatever is added to a registry later.
"""

import json
import re

import pytest

from mmcli.align.registry import METHODS as ALIGN
from mmcli.core.registry import load_attribute
from mmcli.fusion.registry import DEFAULTS, fusion_method
from mmcli.fusion.registry import METHODS as FUSE
from mmcli.tasks.registry import TASKS
from mmcli.tuning.registry import STRATEGIES
from mmcli.workflows.align.train import parse_method
from mmcli.workflows.methods import describe_method, list_methods, spellings
from tests.cli.test_startup import HEAVY, imported
from tests.conftest import Run

NAMES = [row["name"] for row in list_methods()]


def test_listing_imports_nothing_heavy() -> None:
    assert imported("methods") & HEAVY == set()


def test_an_example_imports_only_what_it_runs() -> None:
    assert imported("methods", "show", "fuse:as-text") & HEAVY == set()
    assert imported("methods", "show", "align:linear") & HEAVY == {"numpy"}


def test_rows_in_every_format(run_here: Run) -> None:
    rows = json.loads(run_here("methods", "--json").stdout)
    assert [row["name"] for row in rows] == NAMES and len(rows) == len(
        [*ALIGN, *FUSE, *TASKS, *STRATEGIES]
    )
    lines = run_here("methods", "list", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == rows
    tsv = [line.split("\t") for line in run_here("methods", "--format", "tsv").stdout.splitlines()]
    assert tsv[0] == ["name", "verb", "stage", "reads", "option", "summary", "paper"]
    assert tsv[1:] == [[row[name] or "" for name in tsv[0]] for row in rows]
    table = run_here("methods").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["name", *NAMES]


def test_a_row_says_how_a_method_is_asked_for() -> None:
    rows = {row["name"]: row for row in list_methods()}
    low_rank, cross = rows["fuse:low-rank"], rows["align:cross-attention"]
    assert (low_rank["stage"], low_rank["option"]) == ("hybrid", "--method hybrid:low-rank")
    assert (cross["stage"], cross["option"]) == (None, "--method cross-attention")
    reads = {name: rows[f"fuse:{name}"]["reads"] for name in ("gated", "tokens", "multi-level")}
    assert reads == {"gated": "pooled", "tokens": "tokens", "multi-level": "levels"}
    assert (cross["reads"], rows["align:dual"]["reads"]) == ("tokens", "pooled")


def test_of_one_verb() -> None:
    assert [row["name"] for row in list_methods("align")] == [f"align:{n}" for n in ALIGN.names()]
    assert {row["verb"] for row in list_methods("fuse")} == {"fuse"}


@pytest.mark.parametrize(
    ("said", "name", "option"),
    [
        ("fuse:low-rank", "fuse:low-rank", "hybrid:low-rank"),
        ("fuse:hybrid:low-rank", "fuse:low-rank", "hybrid:low-rank"),
        ("hybrid:low-rank", "fuse:low-rank", "hybrid:low-rank"),
        ("low-rank", "fuse:low-rank", "hybrid:low-rank"),
        ("late", "fuse:mean", "late:mean"),
        ("fuse:early+late", "fuse:early+late", "hybrid:early+late"),
        ("align:linear", "align:linear", "linear"),
        ("linear", "align:linear", "linear"),
        ("align:linear:ridge", "align:linear", "linear:ridge"),
        ("contrastive:sigmoid", "align:contrastive", "contrastive:sigmoid"),
    ],
)
def test_a_method_has_several_names(said: str, name: str, option: str) -> None:
    report = describe_method(said)
    assert (report["name"], report["option"]) == (name, f"--method {option}")


def test_names_mean_what_the_commands_take_them_for() -> None:
    known = spellings()
    for spec in FUSE:
        assert known[spec.name].spec is spec is fusion_method(spec.name.partition(":")[2])
    for stage in DEFAULTS:
        assert known[stage].spec is fusion_method(stage)
    for spec in ALIGN:
        assert known[spec.name].spec is spec
    for name, found in known.items():
        if found.variant:
            assert parse_method(name.removeprefix("align:")) == found
    # no name of one registry hides one of the other
    taken = {n for n in known if n.count(":") == 0}
    assert len(taken) == len([*ALIGN, *FUSE, *DEFAULTS, *TASKS, *STRATEGIES])


def test_show_as_text_and_as_json(run_here: Run) -> None:
    report = json.loads(run_here("methods", "show", "align:linear", "--json").stdout)
    assert report["variants"] == ["auto", "ridge", "kernel", "procrustes", "cca"]
    text = run_here("methods", "show", "align:linear").stdout
    fields, _, example = text.partition("\n\nexample:\n")
    assert example.splitlines() == [f"  {line}" for line in report["example"]]
    shown = dict(line.split(None, 1) for line in fields.splitlines() if " " in line.strip())
    for name in ("summary", "formula", "paper", "shapes"):
        assert shown[name] == report[name]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("show", "fuse:low-rnk"), "did you mean `fuse:low-rank`"),
        (("show", "low_rank"), "did you mean `low-rank`"),
        (("show", "hybird:gated"), "did you mean `hybrid:gated`"),
        (("show", "align:linear:rigde"), "did you mean `align:linear:ridge`"),
        (("show", "a:b:c:d"), "known: "),
        (("show",), "methods show NAME"),
        (("remove", "linear"), "methods show NAME"),
        (("--verb", "fuze"), "did you mean `fuse`"),
        (("--format", "yaml"), "known: table"),
    ],
)
def test_what_is_not_known(words: tuple[str, ...], hint: str, run_here: Run) -> None:
    done = run_here("methods", *words)
    assert done.returncode == 2 and done.stdout == ""
    said = done.stderr.splitlines()
    assert len(said) == 2 and said[1].startswith("hint: ") and hint in said[1], done.stderr


# -- the contract of both registries ---------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("finetune:")])
def test_every_method_is_explained(name: str) -> None:
    report = describe_method(name)
    for field in ("summary", "formula", "paper", "shapes"):
        assert report[field].strip() == report[field] != "", field
    assert "->" in report["shapes"]
    assert re.search(r"\b(18|19|20)\d\d\b", report["paper"]), "a paper has a year"
    lines = report["example"]
    assert 3 <= len(lines) <= 6 and all(isinstance(line, str) and line for line in lines)
    assert sum(len(re.findall(r"\d", line)) for line in lines) >= 3
    assert load_attribute(report["code"]) is not None
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_every_strategy_is_explained(name: str) -> None:
    report = describe_method(f"finetune:{name}")
    for field in ("summary", "formula", "trains"):
        assert report[field].strip() == report[field] != "", field
    assert re.search(r"\b(18|19|20)\d\d\b", report["paper"]), "a paper has a year"
    assert len(report["example"]) >= 2
    assert load_attribute(report["code"]) is not None


@pytest.mark.parametrize("name", TASKS.names())
def test_every_task_is_explained(name: str) -> None:
    report = describe_method(f"finetune:{name}")
    assert report["summary"] and report["needs"]
    assert load_attribute(report["code"]) is not None
