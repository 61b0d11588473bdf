"""Parameters as settings: groups, types, ranges, and when they may change."""

from __future__ import annotations

import re
from typing import Any

import pytest
from rclpy.parameter import Parameter

from seg_perception.errors import ConfigError
from seg_perception.ros.parameters import (
    LaneSettings,
    Settings,
    all_parameters,
    settings_of,
)


def changed(settings: Settings, *, configured: bool = True, **values: Any) -> Settings:
    """Set parameters; `__` stands for the dot."""
    given = [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]
    return settings.changed(given, configured=configured)


def test_every_source_has_the_same_parameters_and_lanes_their_classes() -> None:
    names = set(all_parameters())
    for source, settings in Settings().evidence.by_source().items():
        own = {name.rpartition(".")[2] for name in names if name.startswith(f"evidence.{source}.")}
        assert own >= {"enabled", "trust", "max_age", "max_rate"}
        assert ("classes" in own) == isinstance(settings, LaneSettings)


def test_a_parameter_changes_only_its_own_field() -> None:
    settings = changed(Settings(), evidence__depth__trust=2, mount__camera=[1.0] * 6)
    assert settings.evidence.depth.trust == 2.0
    assert settings.mount.camera == (1.0,) * 6
    assert settings.value("evidence.depth.trust") == 2.0
    assert changed(
        settings, evidence__depth__trust=1.0, mount__camera=[0.0, 0.0, 1.5, 0.0, 0.0, 0.0]
    ) == (Settings())


def test_what_is_not_ours_is_left_alone() -> None:
    assert changed(Settings(), use_sim_time=True) == Settings()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"evidence__depth__trust": -1.0}, "evidence.depth.trust is -1.0: give a number from 0 to"),
        ({"evidence__points__max_age": True}, "give a number from 0 to 60"),
        ({"evidence__lane_mask__kind": "dots"}, "use one of region, lines"),
        ({"mount__points": [0.0] * 5}, "give 6 numbers"),
        ({"mount__camera": 1.5}, "mount.camera is 1.5: give 6 numbers"),
        ({"mount__camera": True}, "mount.camera is True: give 6 numbers"),
        ({"mount__camera": "middle"}, "mount.camera is 'middle': give 6 numbers"),
        ({"mount__camera": [0.0] * 5 + [float("nan")]}, "give a number from -100 to 100"),
        ({"evidence__lane_borders__classes": ["grass"]}, "is read when the node is configured"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(values: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        changed(Settings(), **values)


def test_what_is_fixed_may_change_before() -> None:
    settings = changed(Settings(), configured=False, evidence__lane_borders__classes=["grass"])
    assert settings.evidence.lane_borders.classes == ("grass",)


def test_text_is_understood_as_the_node_does() -> None:
    settings = settings_of(
        {
            "evidence.depth.trust": "3",
            "evidence.lane_mask.classes": "[road, sidewalk]",
            "evidence_gate": "false",
            "mount.camera": "[0.0, 0.0, 1.7, 0.0, 0.02, 0.0]",
        }
    )
    assert settings.evidence.depth.trust == 3.0
    assert settings.evidence.lane_mask.classes == ("road", "sidewalk")
    assert not settings.evidence_gate
    assert settings.mount.camera[2] == 1.7
    assert settings_of({}) == Settings()


@pytest.mark.parametrize(
    "given",
    [{"evidence.depth.trust": "much"}, {"mount.camera": "[0, 0.5]"}, {"self_test": "3"}],
)
def test_text_that_makes_no_sense_is_refused(given: dict[str, str]) -> None:
    (name,) = given
    with pytest.raises(ConfigError, match=name):
        settings_of(given)


def test_a_misspelt_parameter_is_told_with_the_one_that_is_meant() -> None:
    message = "there is no parameter evidence.depth.trst: is evidence.depth.trust meant?"
    with pytest.raises(ConfigError, match=re.escape(message)):
        settings_of({"max_rate": "3.0", "evidence.depth.trst": "0.5"})


def test_parameters_that_come_with_the_model_are_not_misspelt() -> None:
    assert settings_of({"refiners.mean_field.iterations": "3"}) == Settings()
