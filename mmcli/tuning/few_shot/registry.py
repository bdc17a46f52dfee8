"""The rungs of the few-shot ladder, as data: a rung is one file and one entry here."""

from dataclasses import dataclass
from typing import Any

from mmcli.core.registry import Registry, load_attribute


@dataclass(frozen=True)
class RungSpec:
    """One way to tell classes apart from few examples, or none.

    module: has `fit(episode) -> Fitted` and `logits(fitted, features, shared)`; "" for a rung that
    reads the rows themselves, not their embeddings, which whoever runs the ladder must bring.
    needs_texts: it reads the classes' names. learns: it reads the shots.
    """

    name: str
    module: str
    summary: str
    formula: str
    paper: str
    needs_texts: bool = False
    learns: bool = True

    @property
    def on_features(self) -> bool:
        """Whether cached embeddings are all that it reads."""
        return bool(self.module)

    def load(self, function: str) -> Any:
        """Its `fit` or `logits`."""
        return load_attribute(f"{self.module}:{function}")


RUNGS: Registry[RungSpec] = Registry(
    "few-shot rung",
    (
        RungSpec(
            "zero-shot",
            "mmcli.tuning.few_shot.zero_shot",
            "the class whose name lies nearest to the picture",
            "logits = scale f W",
            "Radford et al. 2021, arXiv 2103.00020",
            needs_texts=True,
            learns=False,
        ),
        RungSpec(
            "probe",
            "mmcli.tuning.few_shot.linear_probe",
            "logistic regression on the embeddings",
            "logits = W x + b, least mean cross-entropy + |W|^2 / (2 C n)",
            "Radford et al. 2021, arXiv 2103.00020",
        ),
        RungSpec(
            "tip-adapter",
            "mmcli.tuning.few_shot.tip_adapter",
            "a cache of the shots beside the class names, nothing trained",
            "logits = alpha exp(-beta (1 - f F^T)) L + scale f W",
            "Zhang et al. 2022, arXiv 2207.09519",
            needs_texts=True,
        ),
        RungSpec(
            "tip-adapter-f",
            "mmcli.tuning.few_shot.tip_adapter_f",
            "the same cache, its keys trained from there",
            "logits = alpha exp(-beta (1 - f F^T)) L + scale f W, F trained",
            "Zhang et al. 2022, arXiv 2207.09519",
            needs_texts=True,
        ),
    ),
)
