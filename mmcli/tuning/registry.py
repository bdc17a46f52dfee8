"""The tuning strategies, as data: a strategy is one function and one entry here.

Listing them imports no torch.
"""

from dataclasses import dataclass
from functools import partial

from mmcli.core.registry import Registry


@dataclass(frozen=True)
class StrategySpec:
    """One way to choose what of a network learns.

    apply: `module:function` of (network, options) that gives a `Change`. check: the same, that
    gives the reason why it does not fit a network, "" where it does; "" for what always fits.
    trains: which parameters. adapter: it adds parameters and leaves the network's own as they are.
    merges: what it adds can be written into the network's own weights. peft: it can be written as
    a folder of the library peft. example: `module:function` that gives the lines
    of an example in numbers.
    """

    name: str
    apply: str
    summary: str
    trains: str
    formula: str
    paper: str
    example: str
    check: str = ""
    adapter: bool = False
    merges: bool = False
    peft: bool = False


_PART = "mmcli.tuning.selection"
_SHOW = "mmcli.tuning.examples"
_PEFT = "mmcli.tuning.peft_strategies"
_peft = partial(StrategySpec, adapter=True, merges=True, peft=True)

STRATEGIES: Registry[StrategySpec] = Registry(
    "tuning strategy",
    (
        StrategySpec(
            "full",
            f"{_PART}:full",
            "every parameter learns",
            "all",
            "theta <- theta - lr g",
            "Devlin et al. 2018, arXiv 1810.04805",
            f"{_SHOW}:full",
        ),
        StrategySpec(
            "probe",
            f"{_PART}:probe",
            "the tower is frozen, only what stands on it learns",
            "none of the tower",
            "y = W f(x) + b, f fixed",
            "Alain and Bengio 2016, arXiv 1610.01644",
            f"{_SHOW}:probe",
        ),
        StrategySpec(
            "last-n",
            f"{_PART}:last_n",
            "the last n layers learn, and what comes after them",
            "layers L - n + 1 ... L and after",
            "theta_k <- theta_k - lr g_k for k > L - n",
            "Yosinski et al. 2014, arXiv 1411.1792",
            f"{_SHOW}:last_n",
            check=f"{_PART}:without_layers",
        ),
        StrategySpec(
            "gradual",
            f"{_PART}:gradual",
            "layers thaw from the top down, one more each epoch",
            "all, by and by",
            "layer k learns from epoch L - k on",
            "Howard and Ruder 2018, arXiv 1801.06146",
            f"{_SHOW}:gradual",
            check=f"{_PART}:without_layers",
        ),
        StrategySpec(
            "bitfit",
            f"{_PART}:bitfit",
            "only the bias terms learn",
            "every bias",
            "y = W x + b, W fixed",
            "Ben Zaken et al. 2021, arXiv 2106.10199",
            f"{_SHOW}:bitfit",
            check=f"{_PART}:without_biases",
        ),
        _peft(
            name="lora",
            apply=f"{_PEFT}:lora",
            summary="low-rank updates of the layers' linear maps",
            trains="A (rank, in) and B (out, rank) of each linear map",
            formula="y = W x + alpha / rank B A x",
            paper="Hu et al. 2021, arXiv 2106.09685",
            example=f"{_SHOW}:lora",
            check=f"{_PEFT}:without_maps",
        ),
        _peft(
            name="dora",
            apply=f"{_PEFT}:dora",
            summary="low-rank updates of direction, and a learned magnitude",
            trains="A, B and one magnitude an output of each linear map",
            formula="y = m (W + alpha / rank B A) / |W + alpha / rank B A| x",
            paper="Liu et al. 2024, arXiv 2402.09353",
            example=f"{_SHOW}:dora",
            check=f"{_PEFT}:without_maps",
        ),
        _peft(
            name="ia3",
            apply=f"{_PEFT}:ia3",
            summary="learned scales on keys, values and inner activations",
            trains="one number a channel of keys, values and the feed-forward width",
            formula="k = l_k * (W_k x), v = l_v * (W_v x), y = W_2 (l_f * h)",
            paper="Liu et al. 2022, arXiv 2205.05638",
            example=f"{_SHOW}:ia3",
            check=f"{_PEFT}:without_scales",
        ),
        StrategySpec(
            "adapters",
            "mmcli.tuning.bottlenecks:adapters",
            "small bottleneck networks behind each sub-layer",
            "down (m, dim) and up (dim, m) behind each sub-layer",
            "h <- h + U gelu(D h + c) + d",
            "Houlsby et al. 2019, arXiv 1902.00751",
            f"{_SHOW}:adapters",
            check="mmcli.tuning.bottlenecks:without_places",
            adapter=True,
        ),
        StrategySpec(
            "prompts",
            "mmcli.tuning.prompts:prompts",
            "learned tokens beside the input's own, new ones in each layer",
            "p tokens a layer",
            "[_, h_k] = layer_k([P_k, h_(k-1)])",
            "Jia et al. 2022, arXiv 2203.12119; Lester et al. 2021, arXiv 2104.08691",
            f"{_SHOW}:prompts",
            check="mmcli.tuning.prompts:without_tokens",
            adapter=True,
        ),
    ),
)
