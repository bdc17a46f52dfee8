"""Shapley values against their definition over all orders."""

from itertools import permutations

import numpy as np

from mmcli.metrics.shapley import shapley_values, subsets


def test_values_are_the_mean_over_all_orders_and_sum_to_the_whole() -> None:
    rng = np.random.default_rng(0)
    for players in (1, 2, 3, 4):
        values = {s: rng.normal(size=5) for s in subsets(players)}
        assert len(values) == 2**players
        found = shapley_values(values, players)
        wanted = np.zeros((players, 5))
        orders = list(permutations(range(players)))
        for order in orders:
            seen: tuple[int, ...] = ()
            for player in order:
                more = tuple(sorted((*seen, player)))
                wanted[player] += values[more] - values[seen]
                seen = more
        np.testing.assert_allclose(found, wanted / len(orders), atol=1e-12)
        whole = values[tuple(range(players))] - values[()]
        np.testing.assert_allclose(found.sum(0), whole, atol=1e-12)


def test_two_that_only_count_together_share_alike() -> None:
    values = {(): np.array(0.5), (0,): np.array(0.5), (1,): np.array(0.5), (0, 1): np.array(1.0)}
    np.testing.assert_allclose(shapley_values(values, 2), [0.25, 0.25])
