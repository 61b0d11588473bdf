"""How the node is doing, in one level and one sentence that says what to do."""

from __future__ import annotations

import time

from rclpy.node import Node

from seg_perception.ros.absence import why_no_image
from seg_perception.ros.diagnostics import ERROR, OK, WARN
from seg_perception.ros.inputs import Inputs
from seg_perception.ros.session import Session

Verdict = tuple[bytes, str]


def judge_idle(node: Node, state: str, failure: str, loading: str = "") -> Verdict:
    """Of a node that is not active.

    Args:
        node: whose name stands in the advice.
        state: lifecycle state.
        failure: why the last transition failed; empty if it did not.
        loading: how far the model is loaded; empty if it is not being loaded.
    """
    name = node.get_fully_qualified_name()
    if failure:
        return ERROR, f"{state}: {failure}"
    if state == "configuring":
        return OK, loading
    if loading:
        return WARN, f"{state}, so nothing is published yet: {loading}"
    if state == "finalized":
        return WARN, "shut down: start the node again"
    step = "configure" if state == "unconfigured" else "activate"
    return WARN, f"{state}, so nothing is published: ros2 lifecycle set {name} {step}"


def judge_active(node: Node, session: Session, inputs: Inputs, timeout_s: float) -> Verdict:
    """Of an active node; faults that were told once are not told again.

    Args:
        node: to look around for topics.
        session: what it does.
        inputs: its subscriptions.
        timeout_s: seconds without an image, or without an answer, that are too long.
    """
    topics = " or ".join(wanted.topic for wanted in inputs.wanted)
    silent_s = time.monotonic() - inputs.last_image_s
    faults = "; ".join(f"{cause}: {said}" for cause, said in session.journal.new_faults().items())
    if silent_s > timeout_s:
        why = why_no_image(node, inputs.wanted)
        return ERROR, f"no image received on {topics} for {silent_s:.0f} s: {why}"
    if not inputs.any_image:
        return OK, f"waiting for the first image on {topics}"
    if session.journal.silent_s > timeout_s:
        why = faults or "the model takes longer than that"
        return ERROR, f"no image was answered for {session.journal.silent_s:.0f} s: {why}"
    if faults:
        return WARN, faults
    return OK, f"{session.journal.per_second():.1f} answers per second"
