"""The alignment methods, as data: a method is one file and one entry here."""

from dataclasses import dataclass

from mmcli.core.registry import Registry


@dataclass(frozen=True)
class MethodSpec:
    """One way to align.

    fit: `module:function` that takes `(features, options, run)` and returns a `Fitted`. example:
    `module:function` that gives the lines of an example in numbers. variants: what may follow the
    name after a colon; the first is the default. sequence: it reads tokens, patches or frames.
    iterative: it trains step by step, and can be resumed. reads: the fields of `AlignOptions` that
    change what it does; of others that a user gives, `align train` says that they do not.
    """

    name: str
    fit: str
    summary: str
    formula: str
    paper: str
    shapes: str
    example: str
    variants: tuple[str, ...] = ()
    sequence: bool = False
    iterative: bool = True
    reads: tuple[str, ...] = ()


_STEPS = ("epochs", "batch", "lr", "weight_decay", "warmup", "ema", "clip", "patience")
_TOWERS = ("tower", "hidden", "dropout")

METHODS: Registry[MethodSpec] = Registry(
    "method",
    (
        MethodSpec(
            "linear",
            "mmcli.align.linear:fit",
            "closed form, in seconds: ridge, kernel ridge, orthogonal Procrustes or CCA",
            "min |XW - Y|^2 + lambda |W|^2; W orthogonal; or max corr(XA, YB)",
            "Schonemann 1966; Hotelling 1936; Hoerl & Kennard 1970; Saunders et al. 1998",
            "x (rows, dim_x), y (rows, dim_y) -> both (rows, dim_y); cca: (rows, k) with k at most "
            "128, and (rows, dim_y + k) where a space is shared already",
            "mmcli.align.examples:linear",
            variants=("auto", "ridge", "kernel", "procrustes", "cca"),
            iterative=False,
            reads=("anchor",),
        ),
        MethodSpec(
            "contrastive",
            "mmcli.align.contrastive:fit",
            "two towers, matched rows together and all others apart",
            "-1/2 sum_i [log softmax_j(s x_i.y_j)_i + log softmax_j(s y_i.x_j)_i]",
            "Radford et al. 2021, arXiv 2103.00020; Zhai et al. 2023, arXiv 2303.15343",
            "x_m (batch, dim_m) -> unit vectors (batch, dim) of each modality, loss ()",
            "mmcli.align.examples:contrastive",
            variants=("infonce", "sigmoid"),
            reads=(*_STEPS, *_TOWERS, "dim", "temperature", "hard_negatives", "chunk"),
        ),
        MethodSpec(
            "dual",
            "mmcli.align.dual:fit",
            "two mappings that undo each other, from few pairs and many unpaired rows",
            "sup(f(a), b) + sup(g(b), a) + cyc(g(f(a)), a) + cyc(f(g(b)), b) + match(f(A), B)",
            "He et al. 2016, arXiv 1611.00179; Cuturi 2013, arXiv 1306.0895; Gretton et al. 2012",
            "a (batch, dim_a), b (batch, dim_b) -> f(a) (batch, dim_b), g(b) (batch, dim_a); "
            "in one space (batch, dim_a + dim_b)",
            "mmcli.align.examples:dual",
            variants=("mmd", "moments", "transport"),
            reads=(*_STEPS, *_TOWERS, "cycle_weight", "match_weight"),
        ),
        MethodSpec(
            "cross-attention",
            "mmcli.align.cross_attention:fit",
            "scores a pair from its tokens and patches: a re-ranker",
            "softmax(Q K^T / sqrt(d)) V both ways, then a matching head",
            "Li et al. 2021, arXiv 2107.07651",
            "x (batch, length_x, dim_x), y (batch, length_y, dim_y) -> scores (batch,)",
            "mmcli.align.examples:cross_attention",
            sequence=True,
            reads=(
                *(*_STEPS, "dim", "hidden", "dropout", "layers", "heads"),
                *("temperature", "hard_negatives"),
            ),
        ),
    ),
)
