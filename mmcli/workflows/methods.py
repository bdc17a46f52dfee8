"""`methods`: fusions, alignments, tasks and strategies as rows; only an example shown is run."""

from typing import Any, NamedTuple

from mmcli.align import registry as align
from mmcli.core.errors import UsageError
from mmcli.core.registry import load_attribute, suggestion
from mmcli.fusion import registry as fusion
from mmcli.tasks.registry import TASKS, TaskSpec
from mmcli.tuning.registry import STRATEGIES, StrategySpec

VERBS = ("align", "fuse", "finetune")


class Found(NamedTuple):
    """A method, and the variant of it that was named ("" where none was)."""

    spec: align.MethodSpec | fusion.FusionSpec | StrategySpec | TaskSpec
    variant: str = ""


def list_methods(verb: str | None = None) -> list[dict[str, Any]]:
    """One row a method, of one verb or of all. Raises UsageError for an unknown verb."""
    if verb is not None and verb not in VERBS:
        raise UsageError(f"`{verb}` has no methods", suggestion(verb, VERBS))
    specs = (*align.METHODS, *fusion.METHODS, *TASKS, *STRATEGIES)
    rows = [_row(Found(spec)) for spec in specs]
    return [row for row in rows if verb is None or row["verb"] == verb]


def describe_method(name: str) -> dict[str, Any]:
    """All that is known of one method, and the lines of an example that its own code computes.

    name: any of `spellings`. Raises UsageError, with the nearest of them, for another.
    """
    known = spellings()
    if name not in known:
        # what has as many parts is likelier meant, and `low-rank` is not named twice
        alike = [n for n in known if n.count(":") == min(name.count(":"), 2)]
        raise UsageError(f"no method is named `{name}`", suggestion(name, alike))
    found = known[name]
    spec = found.spec
    if isinstance(spec, TaskSpec):
        encoders = {modality: list(names) for modality, names in spec.encoders.items()}
        told = {"needs": spec.needs, "label": list(spec.label), "encoders": encoders}
        return {**_row(found), **told, "method": spec.method, "code": spec.run, "example": []}
    if isinstance(spec, StrategySpec):
        told = {"trains": spec.trains, "formula": spec.formula, "merges": spec.merges}
        example = load_attribute(spec.example)()
        return {**_row(found), **told, "peft": spec.peft, "code": spec.apply, "example": example}
    report = {**_row(found), "formula": spec.formula, "shapes": spec.shapes}
    if isinstance(spec, align.MethodSpec):
        report |= {"variants": list(spec.variants), "iterative": spec.iterative, "code": spec.fit}
    else:
        report |= {"experts": spec.experts, "ensemble": spec.ensemble, "code": spec.build}
    return {**report, "example": load_attribute(spec.example)()}


def spellings() -> dict[str, Found]:
    """Every way to name a method: `align:linear:ridge`, `linear`, `fuse:low-rank`, `hybrid` …"""
    found: dict[str, Found] = {}
    for spec in align.METHODS:
        names = {spec.name: Found(spec)}
        names |= {f"{spec.name}:{variant}": Found(spec, variant) for variant in spec.variants}
        for name, what in names.items():
            found[name] = found[f"align:{name}"] = what
    defaults = {name: stage for stage, name in fusion.DEFAULTS.items()}
    for method in fusion.METHODS:
        for name in (method.name, _variant(method), defaults.get(method.name, method.name)):
            found[name] = found[f"fuse:{name}"] = Found(method)
    for one in (*TASKS, *STRATEGIES):
        found[one.name] = found[f"finetune:{one.name}"] = Found(one)
    return found


def _row(found: Found) -> dict[str, Any]:
    spec = found.spec
    if isinstance(spec, TaskSpec | StrategySpec):
        stage = "task" if isinstance(spec, TaskSpec) else "strategy"
        return {
            "name": f"finetune:{spec.name}",
            "verb": "finetune",
            "stage": stage,
            "reads": "files",
            "option": f"--{stage} {spec.name}",
            "summary": spec.summary,
            "paper": spec.paper,
        }
    if isinstance(spec, align.MethodSpec):
        verb, name, stage = "align", spec.name, None
        reads = "tokens" if spec.sequence else "pooled"
        given = f"{name}:{found.variant}" if found.variant else name
    else:
        verb, name, stage, reads, given = "fuse", _variant(spec), spec.stage, spec.view, spec.name
    return {
        "name": f"{verb}:{name}",
        "verb": verb,
        "stage": stage,
        "reads": reads,
        "option": f"--method {given}",
        "summary": spec.summary,
        "paper": spec.paper,
    }


def _variant(spec: fusion.FusionSpec) -> str:
    return spec.name.partition(":")[2]
