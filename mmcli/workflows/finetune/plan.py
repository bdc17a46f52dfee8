"""What a fine-tuning will do, settled before the first file is read: encoders, fusions, strategies.

`--quality` answers for those who do not want to: `fast` trains one head on frozen features,
`medium` three seeds of a few fusions, `best` races every fusion and then tunes the towers by lora.
Knows nothing about how any of it is trained.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.core.types import PART_COLUMNS
from mmcli.encoders.registry import PRESETS
from mmcli.fusion.registry import FusionSpec
from mmcli.store.manifest import file_record
from mmcli.tasks.registry import TaskSpec
from mmcli.tasks.tuned_encoder import tower_references
from mmcli.tuning.registry import STRATEGIES
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.features import Wanted, is_store
from mmcli.workflows.fuse.contest import ALL, parse_methods

QUALITIES = ("fast", "medium", "best")
#: Towers that stay as they are; `probe` trains what stands on them.
FROZEN = ("probe", "frozen")
_MEDIUM = ("hybrid:gated", "early:concat", "late:product")
_DEFAULT_SEEDS = {"fast": 1, "medium": 3, "best": 5}
_SEEDS_WHEN_TUNING = {"fast": 1, "medium": 1, "best": 3}


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    strategies: by modality, "" for those that are not named. tunes: whether any tower learns.
    race: whether all fusions compete first.
    """

    methods: tuple[FusionSpec, ...]
    race: bool
    strategies: Mapping[str, str]
    wanted: Wanted

    @property
    def tunes(self) -> bool:
        return any(strategy not in FROZEN for strategy in self.strategies.values())

    def strategy(self, modality: str) -> str:
        """The strategy of a modality's towers."""
        return self.strategies.get(modality) or self.strategies.get("", "probe")


def settled(config: FinetuneConfig) -> FinetuneConfig:
    """The configuration with what `--quality` decides filled in."""
    if config.quality not in QUALITIES:
        raise UsageError(
            f"`--quality {config.quality}` is unknown", suggestion(config.quality, QUALITIES)
        )
    strategy = dict(config.strategy)
    if not strategy:
        strategy = {"": "lora" if config.quality == "best" else "probe"}
    seeds = config.seeds
    if seeds is None:
        tunes = any(name not in FROZEN for name in strategy.values())
        seeds = (_SEEDS_WHEN_TUNING if tunes else _DEFAULT_SEEDS)[config.quality]
    if seeds < 1:
        raise UsageError(f"`--seeds {seeds}`: must be at least 1", "leave it out, or raise it")
    return replace(config, strategy=strategy, seeds=seeds)


def plan_run(config: FinetuneConfig, spec: TaskSpec) -> Plan:
    """The plan of a settled configuration. Raises UsageError for words nobody knows."""
    for name in config.strategy:
        if name and name not in PART_COLUMNS:
            raise UsageError(
                f"`--strategy {name}=…`: no modality is named `{name}`",
                suggestion(name, PART_COLUMNS),
            )
    for strategy in config.strategy.values():
        if strategy != "frozen":
            STRATEGIES.get(strategy)
    words = [word.strip() for word in config.method.split(",") if word.strip()]
    race = ALL in words or (not words and config.quality == "best")
    if not words and not race:
        words = [spec.method or "early:concat"]
        if config.quality == "medium":
            words = list(dict.fromkeys([*words, *_MEDIUM]))
    methods = tuple(parse_methods([*words, ALL] if race and ALL not in words else words))
    views = {method.view for method in methods}
    layers = config.options.get("layers", ())
    assert isinstance(layers, tuple)
    if "levels" in views and not layers and not is_store(config.data):
        raise UsageError(
            "`hybrid:multi-level` reads layers of the encoders, and none is named",
            "as in `--layers 2,4`",
        )
    return Plan(
        methods=methods,
        race=race,
        strategies=dict(config.strategy),
        wanted=Wanted(encoders_of(config, spec), config.only, "tokens" in views, layers),
    )


def encoders_of(config: FinetuneConfig, spec: TaskSpec) -> dict[str, tuple[str, ...]]:
    """References by modality: what the user says, else the towers of `--from`, else the task's own
    with the preset `starter`, else the preset's."""
    found: dict[str, tuple[str, ...]] = {}
    if config.preset == "starter":
        found = dict(spec.encoders)
    else:
        PRESETS.get(config.preset)
    if config.pretrained:
        found |= tower_references(config.pretrained)
    return {**found, **{m: tuple(r) for m, r in config.encoders.items() if r}}


def told(config: FinetuneConfig) -> dict[str, Any]:
    """What `--resume` compares, and the model's config keeps."""
    content = asdict(config)
    for name in ("output", "force", "resume", "dry_run", "command", "checkpoint_s", "workers"):
        content.pop(name)
    found = _plain(content)
    assert isinstance(found, dict)
    return found


def fingerprint(config: FinetuneConfig) -> str:
    """What says that the data are still the same: of a file or store its hash."""
    path = Path(config.data)
    if config.data == "-":
        return "-"
    if is_store(config.data):
        return str(file_record(path / "manifest.json")["sha256"])
    if path.is_file():
        return str(file_record(path)["sha256"])
    if not path.exists() and "*" not in config.data:
        raise BadInput(f"`{config.data}` does not exist", "give a folder, a table or a store")
    return config.data


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
