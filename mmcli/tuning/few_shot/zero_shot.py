"""Zero-shot: `logits = scale f W`, f a picture's unit vector, W the unit vectors of the names.

Source: Radford et al. 2021, arXiv 2103.00020, section 3.1; its logit scale ends at 100. Learns
nothing, so it stands at the foot of the ladder.
"""

import numpy as np

from mmcli.tuning.few_shot.episode import Array, Episode, Fitted, Floats


def fit(episode: Episode) -> Fitted:
    """What is kept: the names' vectors and the scale."""
    if episode.texts is None:
        raise ValueError("zero-shot needs the vectors of the classes' names")
    return Fitted({"texts": episode.texts}, {"scale": episode.scale})


def logits(fitted: Fitted, features: Array, shared: Array | None) -> Floats:
    """`(rows, classes)` of `shared`, `(rows, text_dim)`."""
    return text_logits(shared, fitted.arrays["texts"], fitted.settings["scale"])


def text_logits(shared: Array | None, texts: Array | None, scale: float) -> Floats:
    """Scaled cosines of pictures and class names, `(rows, classes)`."""
    if shared is None or texts is None:
        raise ValueError("no vectors in the space of the classes' names")
    return scale * (shared @ texts.T).astype(np.float64)
