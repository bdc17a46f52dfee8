"""An example of each strategy in numbers: what it trains of a small vision Transformer.

The registry names these functions. Knows nothing about commands.
"""

from functools import partial

import torch

from mmcli.engine.torch_stack import load_torch
from mmcli.tuning.options import StrategyOptions
from mmcli.tuning.strategy import apply

_OPTIONS = StrategyOptions(last_n=1, rank=2, alpha=4, bottleneck=4, prompts=3)
_SHOWN = 4


def _lines(strategy: str) -> list[str]:
    """Counts, the first tensors that learn, and whether outputs are the base's at first."""
    load_torch()
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.models.VisionTransformer(
            img_size=16, patch_size=8, embed_dim=16, depth=3, num_heads=2, num_classes=0
        ).eval()
        pictures = torch.randn(2, 3, 16, 16)
        with torch.no_grad():
            base = network(pictures)
            tuned = apply(strategy, network, _OPTIONS)
            moved = float((network(pictures) - base).abs().max())
    learns, held = tuned.counts
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    shown = ", ".join(f"{name} {shapes[name]}" for name in tuned.trainable[:_SHOWN])
    more = len(tuned.trainable) - _SHOWN
    lines = [
        f"a vision Transformer of 3 layers, width 16: {learns:,} of {held:,} numbers learn, "
        f"{100 * learns / held:.1f} %",
        "outputs before the first step are "
        + ("those of the base" if moved < 1e-6 else f"up to {moved:.2g} from those of the base"),
    ]
    if shown:
        lines.insert(1, f"they are {shown}" + (f" and {more} more tensors" if more > 0 else ""))
    if strategy == "gradual":
        steps = []
        for epoch in range(4):
            tuned.at_epoch(epoch, 4)
            steps.append(sum(p.numel() for p in network.parameters() if p.requires_grad))
        lines.append("in epochs 1 to 4 learn " + ", ".join(f"{n:,}" for n in steps))
    return lines


full = partial(_lines, "full")
probe = partial(_lines, "probe")
last_n = partial(_lines, "last-n")
gradual = partial(_lines, "gradual")
bitfit = partial(_lines, "bitfit")
lora = partial(_lines, "lora")
dora = partial(_lines, "dora")
ia3 = partial(_lines, "ia3")
adapters = partial(_lines, "adapters")
prompts = partial(_lines, "prompts")
