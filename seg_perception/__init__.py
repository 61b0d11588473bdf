"""Semantic segmentation for ROS 2 that can be corrected while driving.

This package is what ships to the vehicle: numpy, rclpy and a runtime, never torch. Models are
trained by the `training` package of the same repository and arrive here as a bundle
(`seg_perception.runtime.bundle`). The rooms, from the bottom up:

- `errors`, `classes`, `timing`, `mailbox`, `turns`, `nearest`: leaves that any room may use
- `evidence`: what the vehicle knows, as set-valued labels
- `filters`: guided filter, lattice and dense CRF, compiled or in numpy
- `runtime`: from a bundle to an answer
- `overlay`: pictures for people
- `perceiver`: frame and evidence in, `Perception` out
- `datasets`: labelled drives, read or rendered
- `evaluation`: scores, bags, replay, report
- `ros`: the only room that knows ROS
- `cli`: the command `seg-perception`
"""

from __future__ import annotations

__version__ = "0.1.0"
