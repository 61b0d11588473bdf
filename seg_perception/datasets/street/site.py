"""What kind of street a drive goes through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_perception.datasets.street.road import Section

Color = tuple[int, int, int]

START = -40.0
"""Where the first things stand, s in metres."""

LEAVES: tuple[Color, ...] = (
    (92, 122, 52), (72, 104, 48), (118, 130, 58), (136, 112, 52), (60, 92, 54),
)  # fmt: skip


@dataclass(frozen=True)
class Stretch:
    """A stretch of one side of the road: a junction, a lawn. side 1 = left, -1 = right."""

    start: float
    end: float
    side: int

    @property
    def span(self) -> tuple[float, float]:
        """From and to which s."""
        return self.start, self.end


@dataclass(frozen=True)
class Character:
    """Somewhere between a high street, a suburb and the edge of a park.

    Attributes:
        plots: how likely terraces, houses, offices and parks are.
        shops: part of the terrace houses that are shops.
        storeys: typical number.
        street_trees: metres between trees on the pavement, inf = none.
        leaves: colour of this season's leaves.
        bare: part of the trees that have none.
        parked: part of the parking strip that is taken.
        traffic: metres between oncoming vehicles.
        people: pedestrians on 100 m of one pavement.
        cyclists: on 100 m of road.
        guarded: part of the kerb that has railings.
    """

    plots: tuple[float, ...]
    shops: float
    storeys: float
    street_trees: float
    leaves: Color
    bare: float
    parked: float
    traffic: float
    people: float
    cyclists: float
    guarded: float


@dataclass(frozen=True, eq=False)
class Site:
    """A street before anything stands on it.

    Attributes:
        section: cross-section of the road.
        character: what it is like.
        end: s up to which it is built, metres.
        junctions: where side roads join.
        rng: of all choices still to be made.
    """

    section: Section
    character: Character
    end: float
    junctions: tuple[Stretch, ...]
    rng: np.random.Generator

    def is_clear(self, s: float, side: int = 0) -> bool:
        """Whether no side road joins at s on a side (0 = either)."""
        return not any(j.start - 4 < s < j.end + 4 and side in (0, j.side) for j in self.junctions)


def random_section(rng: np.random.Generator) -> Section:
    """A street of two, seldom four, lanes."""
    lanes = int(rng.choice([1, 2], p=[0.88, 0.12]))
    parking = np.where(rng.random(2) < 0.45, 2.1, 0.0)
    return Section(
        lane_width=rng.uniform(2.9, 3.7),
        lanes_left=lanes,
        lanes_right=lanes,
        parking_left=float(parking[0]),
        parking_right=float(parking[1]),
        sidewalk_left=rng.uniform(2.0, 5.0),
        sidewalk_right=rng.uniform(2.0, 5.0),
        verge=float(rng.choice([0.0, 1.2], p=[0.75, 0.25])),
        kerb=rng.uniform(0.08, 0.15),
        traffic_side=int(rng.choice([1, -1])),
    )


def random_character(rng: np.random.Generator) -> Character:
    """Any street."""
    return Character(
        plots=tuple(rng.dirichlet([1.8, 1.2, 0.5, 1.2]).tolist()),
        shops=rng.uniform(0.1, 0.9),
        storeys=rng.uniform(2.2, 4.2),
        street_trees=rng.uniform(9, 25) if rng.random() < 0.5 else np.inf,
        leaves=LEAVES[rng.integers(len(LEAVES))],
        bare=float(rng.choice([0.0, 0.15, 0.9], p=[0.6, 0.2, 0.2])),
        parked=rng.uniform(0.2, 0.8),
        traffic=rng.uniform(25, 90),
        people=rng.uniform(1, 8),
        cyclists=rng.uniform(0.2, 2.5),
        guarded=max(0.0, rng.uniform(-0.4, 0.5)),
    )


def random_site(
    section: Section, character: Character, end: float, rng: np.random.Generator
) -> Site:
    """A street with side roads here and there."""
    junctions = []
    for side in (1, -1):
        s = rng.uniform(15, 110)
        while s < end:
            width = rng.uniform(6.5, 10)
            junctions.append(Stretch(s, s + width, side))
            s += width + rng.uniform(60, 160)
    return Site(section, character, end, tuple(junctions), rng)
