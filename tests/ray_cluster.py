"""A Ray cluster of two nodes on this machine, until its standard input ends; prints its address.

With a line on the standard input its head is killed.
"""

import sys

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


def main():
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    cluster.add_node(**NODE)
    print(cluster.address, flush=True)
    if sys.stdin.readline():
        for name in ("gcs_server", "raylet"):
            for info in cluster.head_node.all_processes[name]:
                info.process.kill()
        print("killed", flush=True)
        sys.stdin.readline()
    cluster.shutdown()


if __name__ == "__main__":
    main()
