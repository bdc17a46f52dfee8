"""A Ray cluster of two nodes on this machine, for tests; a process of its own.

`python -m tests.ray_cluster` prints its address, and ends with its standard input.
"""

import os
import sys


def main() -> None:
    """Start the nodes, say where they are, wait."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=2)
    print(f"address {cluster.address}", flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
