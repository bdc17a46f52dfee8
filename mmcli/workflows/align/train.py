"""`align train`: a method on the pairs of a store, beside its baselines, into an aligner.

What the modalities share before, and the closed form, are scored on the same rows as the method;
seeds are trained one after another and the best on validation rows is kept. Prints nothing.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmcli.align.aligner import KIND
from mmcli.align.features import Rows
from mmcli.align.fitting import AlignOptions, FitRun, Fitted, check_numbers
from mmcli.align.registry import METHODS, MethodSpec
from mmcli.align.scoring import Scores, score_shared, score_towers, summary
from mmcli.core.bounds import TRAINING, check_options
from mmcli.core.errors import UsageError
from mmcli.core.registry import load_attribute, suggestion
from mmcli.engine.device import Placement, place, probe
from mmcli.store.artifact import ArtifactWriter, check_artifact_output
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.workflows.align.data import AlignData, DataConfig, load_data
from mmcli.workflows.align.files import Provenance, write_aligner
from mmcli.workflows.align.seed_intervals import averaged
from mmcli.workflows.listeners import Listeners


@dataclass(frozen=True)
class TrainConfig:
    """What `mmcli align train` can be told. method: a name of the registry, and `:variant`."""

    store: str
    output: str
    data: DataConfig
    method: str = "linear"
    options: AlignOptions = field(default_factory=AlignOptions)
    seed: int = 0
    seeds: int = 1
    device: str = "auto"
    precision: str = "auto"
    verify: str = "once"
    checkpoint_s: float = 30.0
    force: bool = False
    resume: bool = False
    dry_run: bool = False
    command: str = ""


@dataclass(frozen=True)
class Outcome:
    """One seed: what was fitted, its scores on validation and test rows, and the time it took."""

    seed: int
    fitted: Fitted
    test: Scores
    seconds: float

    @property
    def rank(self) -> float:
        """What seeds are compared by."""
        value = summary(self.fitted.val)
        return value if value == value else -1.0


def train(config: TrainConfig, listeners: Listeners | None = None) -> dict[str, Any]:
    """Train an aligner and report its scores beside the baselines'.

    Raises BadInput or UsageError for data and options that do not fit, before anything is written.
    """
    listeners = listeners or Listeners()
    spec, variant = parse_method(config.method)
    check_numbers(config.options)
    check_options({"seeds": config.seeds, "seed": config.seed}, TRAINING)
    check_artifact_output(Path(config.output), KIND, config.force, config.resume)
    store = Store.open(config.store, config.verify)
    data = load_data(store, config.data, sequence=spec.sequence)
    placement = _placement(config, spec)
    listeners.message(describe(data, spec, placement))
    for line in idle(config.options, spec):
        listeners.message(f"warning: {line}")
    if config.dry_run:
        return {"dry_run": True, **_plan(config, data, placement)}
    options = AlignOptions(**{**vars(config.options), "variant": variant})
    manifest_sha = file_record(store.path / MANIFEST)["sha256"]
    told = _told(config, variant)
    with ArtifactWriter(
        config.output, KIND, told, manifest_sha, force=config.force, resume=config.resume
    ) as writer:
        baselines = _baselines(data, spec, config.seed, listeners)
        outcomes = [
            _one_seed(config, data, spec, options, placement, writer, number, listeners)
            for number in range(config.seeds)
        ]
        best = max(outcomes, key=lambda outcome: outcome.rank)
        report = _report(config, store, data, spec, best, outcomes, baselines, placement)
        origin = Provenance(
            spec=spec,
            modalities=data.features.modalities,
            bindings=data.bindings,
            run=_told(config, str(best.fitted.chosen.get("variant", ""))),
            command=config.command,
            store=store.path,
            store_sha256=manifest_sha,
        )
        history = [{"seed": o.seed, **record} for o in outcomes for record in o.fitted.history]
        write_aligner(writer, best.fitted, origin, report, history)
    return report


def parse_method(words: str) -> tuple[MethodSpec, str]:
    """The method of `NAME` or `NAME:VARIANT`. Raises UsageError for one that nobody knows."""
    name, colon, variant = words.partition(":")
    spec = METHODS.get(name)
    if colon and variant not in spec.variants:
        known = [f"{name}:{v}" for v in spec.variants]
        raise UsageError(
            f"`{name}` has no variant `{variant}`",
            suggestion(words, known) if known else "leave the variant out",
        )
    return spec, variant or (spec.variants[0] if spec.variants else "")


def describe(data: AlignData, spec: MethodSpec, placement: Placement) -> str:
    """One line on what is about to be trained."""
    features = data.features
    parts = "; ".join(f"{name} ({', '.join(p.keys)})" for name, p in features.parts.items())
    return (
        f"{spec.name} between {parts}; {len(features.train)} train, {len(features.val)} val,"
        f" {len(data.test)} test rows ({data.split_source}); {placement.device}"
        f" {placement.precision}"
    )


def idle(options: AlignOptions, spec: MethodSpec) -> list[str]:
    """What the user gave and the method does not read, in at most one line."""
    plain = vars(AlignOptions())
    given = [name for name, value in vars(options).items() if value != plain[name]]
    unread = [f"`--{n.replace('_', '-')}`" for n in given if n not in (*spec.reads, "variant")]
    if not unread:
        return []
    return [f"{', '.join(unread)} {'are' if unread[1:] else 'is'} not read by {spec.name}"]


def _placement(config: TrainConfig, spec: MethodSpec) -> Placement:
    """Closed forms are computed in double precision on the CPU, whatever is asked for."""
    if not spec.iterative:
        return Placement("cpu", "float32")
    return place(config.device, config.precision, probe())


def _plan(config: TrainConfig, data: AlignData, placement: Placement) -> dict[str, Any]:
    features = data.features
    return {
        "aligner": config.output,
        "method": config.method,
        "keys": {name: list(part.keys) for name, part in features.parts.items()},
        "rows": {
            "train": len(features.train),
            "val": len(features.val),
            "test": len(data.test),
            **{
                f"train_with_{a}_and_{b}": len(features.rows_with(features.train, a, b))
                for a, b in features.pairs()
            },
            **{
                f"unpaired_{name}": sum(len(rows) for _, rows in found)
                for name, found in (features.unpaired or {}).items()
                if found
            },
        },
        "splits": data.split_source,
        "seeds": config.seeds,
        "device": placement.device,
        "precision": placement.precision,
    }


def _told(config: TrainConfig, variant: str) -> dict[str, Any]:
    """What `--resume` compares, and the config keeps."""
    data = asdict(config.data)
    return {
        "method": config.method.partition(":")[0],
        "variant": variant,
        "options": asdict(config.options),
        "seed": config.seed,
        "seeds": config.seeds,
        "precision": config.precision,
        **{name: _plain(value) for name, value in data.items()},
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _baselines(
    data: AlignData, spec: MethodSpec, seed: int, listeners: Listeners
) -> dict[str, dict[str, Scores]]:
    """Scores of the space that is shared before, and of the closed form, by split."""
    features = data.features
    found: dict[str, dict[str, Scores]] = {}
    before = {name: score_shared(features, rows) for name, rows in _splits(data).items()}
    if any(before.values()):
        found["before"] = before
    if spec.iterative:
        from mmcli.align.linear import fit

        # tokens are many and their pooled vectors wide: one closed form is enough beside them
        options = AlignOptions(variant="ridge" if spec.sequence else "auto")
        fitted = fit(features, options, FitRun(seed=seed, message=listeners.message))
        towers = fitted.directions["both"]
        found[f"linear:{fitted.chosen['variant']}"] = {
            name: score_towers(features, towers, rows)
            for name, rows in _splits(data).items()
            if name != "val"  # it was fitted on these rows too
        }
    return found


def _splits(data: AlignData) -> dict[str, Rows]:
    found = {"val": data.features.val, "test": data.test}
    return {name: rows for name, rows in found.items() if len(rows)}


def _one_seed(
    config: TrainConfig,
    data: AlignData,
    spec: MethodSpec,
    options: AlignOptions,
    placement: Placement,
    writer: ArtifactWriter,
    number: int,
    listeners: Listeners,
) -> Outcome:
    began = time.monotonic()
    seed = config.seed + number
    if config.seeds > 1:
        listeners.message(f"seed {seed}")
    run = FitRun(
        seed=seed,
        device=placement.device,
        dtype=placement.dtype,
        checkpoint=writer.checkpoint / f"seed-{seed}" if spec.iterative else None,
        resume=writer.resumed,
        checkpoint_s=config.checkpoint_s,
        message=listeners.message,
        progress=listeners.progress,
    )
    fitted: Fitted = load_attribute(spec.fit)(data.features, options, run)
    test: Scores = {}
    if len(data.test):
        test = fitted.score(data.features, data.test)
    return Outcome(seed, fitted, test, time.monotonic() - began)


def _report(
    config: TrainConfig,
    store: Store,
    data: AlignData,
    spec: MethodSpec,
    best: Outcome,
    outcomes: list[Outcome],
    baselines: Mapping[str, Mapping[str, Scores]],
    placement: Placement,
) -> dict[str, Any]:
    scored = "test" if len(data.test) else "val"
    rows = [
        {"method": name, "rows": scored, **_flat(scores.get(scored, {}))}
        for name, scores in baselines.items()
    ]
    each = [_flat(o.test if scored == "test" else o.fitted.val) for o in outcomes]
    name = f"{spec.name}:{best.fitted.chosen.get('variant', '')}".rstrip(":")
    rows.append({"method": name, "rows": scored, **averaged(each)})
    return {
        "aligner": config.output,
        "method": name,
        **_plan(config, data, placement),
        "store": str(store.path),
        "chosen": dict(best.fitted.chosen),
        "best_seed": best.seed,
        "scores": rows,
        "seeds_scores": [
            {"seed": o.seed, "seconds": round(o.seconds, 2), **_flat(o.test or o.fitted.val)}
            for o in outcomes
        ],
        "val": best.fitted.val,
        "val_source": best.fitted.val_source,
        "test": best.test,
        "seconds": round(sum(o.seconds for o in outcomes), 2),
    }


def _flat(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """`text-to-image hit@1` and so on: one value a direction and measure."""
    return {
        f"{direction} {name}": value
        for direction, values in scores.items()
        for name, value in values.items()
        if name.startswith("hit@")
    }
