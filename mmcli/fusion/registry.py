"""The fusion methods, as data: a method is one file or function and one entry here."""

from dataclasses import dataclass

from mmcli.core.errors import UsageError
from mmcli.core.registry import Registry, suggestion


@dataclass(frozen=True)
class FusionSpec:
    """One way to fuse.

    build: `module:class`, of a network on a `Blueprint`, or of a combiner of experts' outputs.
    view: what it reads of a modality: `pooled` vectors, `tokens` where the store has sequences,
    `levels` where it has layers, `as-text` with the columns written into the text. example:
    `module:function` that gives the lines of an example in numbers. experts: it combines the
    outputs of one model a modality; with `concat` among them where `ensemble` is true. parts: each
    modality has an output of its own beside the fused one, which learns where it has labels.
    """

    name: str
    build: str
    summary: str
    formula: str
    paper: str
    shapes: str
    example: str
    view: str = "pooled"
    experts: bool = False
    ensemble: bool = False
    parts: bool = False

    @property
    def stage(self) -> str:
        """early, late or hybrid."""
        return self.name.partition(":")[0]


_POOLED = "x_m (batch, dim_m), present (batch, M) -> vector (batch, width), output (batch, n)"
_TOKENS = (
    "x_m (batch, length_m, dim_m) or (batch, dim_m) -> vector (batch, width), output (batch, n)"
)
_LATE = "outputs (batch, M, n), present (batch, M) -> output (batch, n)"
_MT = "Gu and Budhkar 2021, ACL workshop 2021.maiworkshop-1.10"

METHODS: Registry[FusionSpec] = Registry(
    "fusion method",
    (
        FusionSpec(
            "early:concat",
            "mmcli.fusion.early.concat:Concat",
            "standardised vectors side by side, to a perceptron",
            "y = V gelu(W [x_1; ...; x_M; p] + b) + c",
            "Baltrusaitis et al. 2017, arXiv 1705.09406",
            _POOLED,
            "mmcli.fusion.early.concat:example",
        ),
        FusionSpec(
            "early:concat-linear",
            "mmcli.fusion.early.concat:ConcatLinear",
            "standardised vectors side by side, to a linear model",
            "y = V [x_1; ...; x_M; p] + c",
            "Baltrusaitis et al. 2017, arXiv 1705.09406",
            "x_m (batch, dim_m), present (batch, M) -> vector (batch, sum dim_m + M)",
            "mmcli.fusion.early.concat:example",
        ),
        FusionSpec(
            "early:as-text",
            "mmcli.fusion.early.concat:Concat",
            "tabular columns written into the text before it is embedded, then concat",
            "x_text = encode(text + ' column: value ...')",
            _MT,
            _POOLED,
            "mmcli.fusion.early.as_text:example",
            view="as-text",
        ),
        FusionSpec(
            "early:tokens",
            "mmcli.fusion.early.tokens:Tokens",
            "all modalities' tokens as one stream through a Transformer",
            "h = Transformer([cls; W_1 x_1 + e_1; ...; W_M x_M + e_M])_cls",
            "Li et al. 2019, arXiv 1908.03557",
            _TOKENS,
            "mmcli.fusion.early.tokens:example",
            view="tokens",
        ),
        *(
            FusionSpec(
                f"late:{name}",
                f"mmcli.fusion.late.{name}:{name.capitalize()}",
                summary,
                formula,
                paper,
                _LATE,
                f"mmcli.fusion.late.{name}:example",
                experts=True,
            )
            for name, summary, formula, paper in (
                (
                    "mean",
                    "mean of the experts' probabilities",
                    "p = mean_m p_m",
                    "Kittler et al. 1998, IEEE TPAMI 20(3)",
                ),
                (
                    "weighted",
                    "convex weights learned on validation rows",
                    "p = sum_m w_m p_m",
                    "Jordan and Jacobs 1994, Neural Computation 6(2)",
                ),
                (
                    "vote",
                    "plurality of the experts' choices",
                    "argmax_c sum_m [argmax p_m = c]",
                    "Kittler et al. 1998, IEEE TPAMI 20(3)",
                ),
                (
                    "product",
                    "product of calibrated experts",
                    "p ~ prod_m p_m(T_m) / prior^(M-1)",
                    "Hinton 2002, Neural Computation 14(8)",
                ),
                (
                    "stack",
                    "a model on the experts' predictions",
                    "y = W [z_1; ...; z_M; p] + c",
                    "Wolpert 1992, Neural Networks 5(2)",
                ),
            )
        ),
        FusionSpec(
            "hybrid:gated",
            "mmcli.fusion.hybrid.gated:Gated",
            "a gate for each modality, set by all of them (GMU)",
            "h = sum_m sigmoid(Z_m [x_1; ...; x_M]) * tanh(W_m x_m)",
            "Arevalo et al. 2017, arXiv 1702.01992",
            _POOLED,
            "mmcli.fusion.hybrid.gated:example",
        ),
        FusionSpec(
            "hybrid:tensor",
            "mmcli.fusion.hybrid.tensor:TensorFusion",
            "the outer product of all modalities (TFN)",
            "h = [h_1; 1] x [h_2; 1] x ... x [h_M; 1]",
            "Zadeh et al. 2017, arXiv 1707.07250",
            "x_m (batch, dim_m), present (batch, M) -> vector (batch, product over m of (d + 1)), "
            "at most 8192 numbers; output (batch, n)",
            "mmcli.fusion.hybrid.tensor:example",
        ),
        FusionSpec(
            "hybrid:low-rank",
            "mmcli.fusion.hybrid.low_rank:LowRank",
            "the outer product, in factors of low rank (LMF)",
            "h = sum_r w_r prod_m (W_m^r [h_m; 1]) + b",
            "Liu et al. 2018, arXiv 1806.00064",
            _POOLED,
            "mmcli.fusion.hybrid.low_rank:example",
        ),
        FusionSpec(
            "hybrid:bilinear",
            "mmcli.fusion.hybrid.bilinear:Bilinear",
            "elementwise products of pairs of modalities (MLB)",
            "h = P^T mean_(a<b) tanh(U_a x_a) * tanh(U_b x_b) + b",
            "Kim et al. 2016, arXiv 1610.04325",
            _POOLED,
            "mmcli.fusion.hybrid.bilinear:example",
        ),
        FusionSpec(
            "hybrid:attention",
            "mmcli.fusion.hybrid.attention:ModalityAttention",
            "one token a modality through a Transformer",
            "h = Transformer([cls; W_1 x_1 + e_1; ...; W_M x_M + e_M])_cls",
            "Vaswani et al. 2017, arXiv 1706.03762",
            _POOLED,
            "mmcli.fusion.hybrid.attention:example",
        ),
        FusionSpec(
            "hybrid:bottleneck",
            "mmcli.fusion.hybrid.bottleneck:Bottleneck",
            "streams that meet in a few shared tokens, layer by layer (MBT)",
            "[z_m'; b_m] = Block([z_m; b]),  b' = mean_m b_m",
            "Nagrani et al. 2021, arXiv 2107.00135",
            _TOKENS,
            "mmcli.fusion.hybrid.bottleneck:example",
            view="tokens",
        ),
        FusionSpec(
            "hybrid:cross-modal",
            "mmcli.fusion.hybrid.cross_modal:CrossModal",
            "each modality attends to every other (MulT)",
            "z_(a<-b) = softmax(Q_a K_b^T / sqrt(d)) V_b for each ordered pair",
            "Tsai et al. 2019, arXiv 1906.00295",
            _TOKENS,
            "mmcli.fusion.hybrid.cross_modal:example",
            view="tokens",
        ),
        FusionSpec(
            "hybrid:multi-level",
            "mmcli.fusion.hybrid.multi_level:MultiLevel",
            "layers of the encoders exchanged level by level, inside the model",
            "s_m^l = s_m^(l-1) + f_l([s_m^(l-1); x_m^l; mean_(o != m) s_o^(l-1)])",
            "after Joze et al. 2020, arXiv 1911.08670",
            "x_m (batch, sum over levels of dim) -> vector (batch, width), output (batch, n)",
            "mmcli.fusion.hybrid.multi_level:example",
            view="levels",
        ),
        FusionSpec(
            "hybrid:misa",
            "mmcli.fusion.hybrid.misa:Misa",
            "a shared and a private part of each modality (MISA)",
            "s_m = S(x_m), p_m = P_m(x_m); task + CMD(s) + |s^T p|^2 + |x - D(s + p)|^2",
            "Hazarika et al. 2020, arXiv 2005.03545",
            "x_m (batch, dim_m), present (batch, M) -> vector (batch, 2 M width), "
            "output (batch, n)",
            "mmcli.fusion.hybrid.misa:example",
        ),
        FusionSpec(
            "hybrid:multi-task",
            "mmcli.fusion.hybrid.multi_task:MultiTask",
            "a head for each modality beside the fused one, for labels of its own (MLF)",
            "s_m = gelu(W_m x_m), y_m = head_m(s_m), y = head([s_1; ...; s_M])",
            "Yu et al. 2020, ACL 2020.acl-main.343",
            "x_m (batch, dim_m), present (batch, M) -> vector (batch, width), output (batch, n), "
            "parts (batch, M, n)",
            "mmcli.fusion.hybrid.multi_task:example",
            parts=True,
        ),
        FusionSpec(
            "hybrid:combiner-gating",
            "mmcli.fusion.hybrid.combiner:GatedSum",
            "gated other modalities added to the main one (MAG)",
            "h = x + alpha sum_o relu(G_o [x_o; x]) * W_o x_o",
            f"Rahman et al. 2020, arXiv 1908.05787; {_MT}",
            _POOLED,
            "mmcli.fusion.hybrid.combiner:example_gated_sum",
        ),
        FusionSpec(
            "hybrid:combiner-weighted",
            "mmcli.fusion.hybrid.combiner:WeightedSum",
            "the main modality and a learned weighted sum of the others",
            "h = x + sum_o w_o * W_o x_o",
            _MT,
            _POOLED,
            "mmcli.fusion.hybrid.combiner:example_weighted_sum",
        ),
        FusionSpec(
            "hybrid:combiner-attention",
            "mmcli.fusion.hybrid.combiner:TabularAttention",
            "attention over the main modality and the others",
            "h = sum_m softmax_m(a^T [W x; W_m x_m]) W_m x_m",
            _MT,
            _POOLED,
            "mmcli.fusion.hybrid.combiner:example_tabular_attention",
        ),
        FusionSpec(
            "hybrid:early+late",
            "mmcli.fusion.late.weighted:Weighted",
            "early:concat as one more expert beside the single modalities",
            "p = w_0 p_concat + sum_m w_m p_m",
            "Morvant et al. 2014, arXiv 1207.1019",
            _LATE,
            "mmcli.fusion.late.weighted:example",
            experts=True,
            ensemble=True,
        ),
    ),
)
#: What a stage means when no variant is named.
DEFAULTS = {"early": "early:concat", "late": "late:mean", "hybrid": "hybrid:gated"}


def fusion_method(words: str) -> FusionSpec:
    """The method of `early`, `hybrid:gated` or `gated`. Raises UsageError for an unknown one."""
    name = DEFAULTS.get(words, words)
    if name in METHODS:
        return METHODS.get(name)
    if ":" not in words:
        found = [spec for spec in METHODS if spec.name.partition(":")[2] == words]
        if len(found) == 1:
            return found[0]
    variants = [spec.name.partition(":")[2] for spec in METHODS]
    raise UsageError(
        f"no fusion method is named `{words}`", suggestion(words, [*METHODS.names(), *variants])
    )
