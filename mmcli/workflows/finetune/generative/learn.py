"""The weights of a generative model: loaded, tuned by a plan, trained, made ready to be written.

Knows nothing about scores or reports.
"""

import time
from dataclasses import asdict
from typing import Any

from mmcli.core.errors import UsageError
from mmcli.engine.torch_stack import load_torch
from mmcli.engine.training import Trained, TrainOptions, train
from mmcli.store.artifact import ArtifactWriter
from mmcli.tasks.generative.answering import answers
from mmcli.tasks.generative.loading import load_network
from mmcli.tasks.generative.scoring import judge
from mmcli.tasks.generative.tuned import TunedModel, tune
from mmcli.tuning.options import StrategyOptions
from mmcli.workflows.finetune.generative.plan import LOSS, Setting, shown
from mmcli.workflows.listeners import Listeners


def network_of(setting: Setting) -> Any:
    """The base: in few bits where it stays as it is, else in fp32 under autocast."""
    dtype = setting.placement.dtype if setting.adapts else "float32"
    return load_network(setting.base, dtype, setting.placement.device)


def tuned_of(setting: Setting, network: Any) -> TunedModel:
    """What of the network learns, in fp32; new weights are drawn by the seed."""
    config = setting.config
    load_torch().manual_seed(config.seed)
    tuned = tune(
        network,
        setting.base.family,
        setting.strategy,
        StrategyOptions(**asdict(config.tune)),
        config.tricks.layer_decay,
    )
    for name, parameter in network.named_parameters():
        if name in tuned.learned:
            parameter.data = parameter.data.float()
    if config.tricks.checkpointing:
        if not network.supports_gradient_checkpointing:
            raise UsageError(
                f"{setting.base.family.name} cannot recompute its activations",
                "leave out `--gradient-checkpointing`",
            )
        network.gradient_checkpointing_enable({"use_reentrant": False})
    return tuned


def _method(setting: Setting, tuned: TunedModel) -> Any:
    from mmcli.tasks.generative.learning import AnswerTraining

    config = setting.config
    score = None
    if config.metric not in ("auto", LOSS):

        def score(learner: Any) -> float:
            said = answers(
                learner.network,
                setting.dialect,
                setting.rows["val"],
                setting.writing,
                batch=setting.batch,
                device=setting.placement.device,
            )
            found = judge(config.task, setting.rows["val"], said, config.seed)
            return found.values[config.metric]

    return AnswerTraining(
        tuned,
        setting.dialect,
        setting.base.family.vision,
        setting.rows["train"],
        setting.rows["val"],
        batch=setting.batch,
        accumulate=config.tricks.accumulate,
        smoothing=config.tricks.smoothing,
        seed=config.seed,
        epochs=setting.epochs,
        device=setting.placement.device,
        score=score,
    )


def learn(
    setting: Setting,
    tuned: TunedModel,
    writer: ArtifactWriter,
    time_limit_s: float | None,
    listeners: Listeners,
) -> tuple[Any, Trained]:
    """Train; the method and what it came to. The network holds the best epoch's weights."""
    config = setting.config
    method = _method(setting, tuned)
    method.drop_idle()
    if not method.learned:
        raise UsageError("no weight that would learn changes an answer", "choose another strategy")
    load_torch().manual_seed(config.seed)
    tricks = config.tricks
    done = train(
        method,
        TrainOptions(
            epochs=setting.epochs,
            lr=setting.lr,
            weight_decay=tricks.weight_decay or 0.0,
            warmup=tricks.warmup,
            ema=tricks.ema,
            clip=tricks.clip,
            patience=tricks.patience,
            device=setting.placement.device,
            dtype=setting.placement.dtype,
            checkpoint_s=config.checkpoint_s,
            time_limit_s=time_limit_s,
            average=tricks.average,
        ),
        checkpoint=writer.checkpoint / "steps",
        resume=writer.resumed,
        progress=listeners.progress,
    )
    return method, done


def settled(setting: Setting, tuned: TunedModel) -> Any:
    """The network as it will be loaded again: merged where it is no adapter, in one type."""
    network = tuned.network
    if setting.config.tricks.checkpointing:
        network.gradient_checkpointing_disable()
    network.requires_grad_(False)
    if not tuned.is_adapter:
        tuned.merge()
        network.to(getattr(load_torch(), setting.placement.dtype))
    return network.eval()


def dry_run(setting: Setting) -> dict[str, Any]:
    """What would be done: sizes, an estimate from one row, the first rows as they are learned."""
    network = network_of(setting)
    tuned = tuned_of(setting, network)
    method = _method(setting, tuned)
    began = time.monotonic()
    method.drop_idle()
    seconds = time.monotonic() - began
    trainable, total = tuned.counts
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    examples = []
    for example in setting.rows["train"][:3]:
        line = setting.dialect.line(example, True)
        decode = setting.dialect.tokenizer.decode
        examples.append(
            {
                "id": example.id,
                "prompt": decode([token for token in line.source if token >= 0]),
                "answer": decode(list(line.target)),
                "images": list(example.images),
            }
        )
    return {
        "dry_run": True,
        **shown(setting),
        "trainable": trainable,
        "parameters": total,
        # gradients, two moments and the best epoch, in fp32; activations come on top
        "memory_bytes": int(weights + 16 * trainable),
        "train_seconds": round(seconds * len(setting.rows["train"]) * setting.epochs, 1),
        "first_rows": examples,
    }
