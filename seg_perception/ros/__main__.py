"""The node as a process: `python -m seg_perception.ros`, or the console script."""

from __future__ import annotations

import sys

from seg_perception.ros.memory import reuse_memory


def main() -> int:
    """Run the node, see `node.main`; the console script `segmentation_node`."""
    reuse_memory()
    # Only now, since rclpy starts threads as soon as it is imported.
    from seg_perception.ros.node import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
