"""The mean of several sets of weights of one network: of checkpoints, or of seeds.

Source: Wortsman et al. 2022, arXiv 2203.05482 (the uniform soup). The mean of low-rank factors is
not the mean of their products: merge `lora` and `dora` of different seeds before averaging them.
Knows nothing about networks.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor

from mmcli.core.errors import BadInput


def mean_state(states: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each floating-point tensor, taken in fp64; other tensors from the first state.

    Only one state is held beside the sum. Raises BadInput where names or shapes differ, or there
    is nothing to average.
    """
    first: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    count = 0
    for state in states:
        if not count:
            first = dict(state)
            sums = {n: v.double() for n, v in first.items() if v.is_floating_point()}
        else:
            _check(first, state, count)
            for name, total in sums.items():
                total += state[name].double()
        count += 1
    if not count:
        raise BadInput("there are no weights to average", "name at least one model")
    return {n: (sums[n] / count).to(v.dtype) if n in sums else v for n, v in first.items()}


def _check(first: Mapping[str, Tensor], state: Mapping[str, Tensor], number: int) -> None:
    different = sorted(first.keys() ^ state.keys())
    different += [n for n in first if n in state and first[n].shape != state[n].shape]
    if different:
        raise BadInput(
            f"the weights number 1 and {number + 1} are not of one network: `{different[0]}` "
            "differs",
            "average models of the same towers, strategy and options",
        )
