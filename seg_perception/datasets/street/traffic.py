"""Plans what moves: cars before and towards us, cyclists, people on foot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from seg_perception.datasets.street.people import Clothes, Cyclist, Pedestrian
from seg_perception.datasets.street.road import SIGHT
from seg_perception.datasets.street.site import START, Site
from seg_perception.datasets.street.stage import ROADWAY, Thing
from seg_perception.datasets.street.vehicles import Vehicle

Color = tuple[int, int, int]

PAINTS: tuple[Color, ...] = (
    (196, 198, 202), (232, 232, 230), (34, 36, 40), (92, 96, 102), (142, 28, 30), (34, 58, 110),
    (24, 72, 62), (168, 172, 178), (190, 160, 60), (84, 130, 168),
)  # fmt: skip
SHARES = {"hatchback": 0.4, "saloon": 0.24, "estate": 0.18, "van": 0.12, "bus": 0.06}
SKINS: tuple[Color, ...] = ((226, 186, 160), (196, 150, 120), (128, 88, 66), (92, 62, 48))
HAIRS: tuple[Color, ...] = ((40, 32, 28), (84, 58, 38), (160, 126, 76), (128, 124, 120))


def random_shape(rng: np.random.Generator, with_bus: bool = True) -> str:
    """What kind of vehicle comes next."""
    names = list(SHARES)[: None if with_bus else -1]
    shares = np.array([SHARES[name] for name in names])
    return str(rng.choice(names, p=shares / shares.sum()))


def random_paint(rng: np.random.Generator) -> Color:
    """A car's colour."""
    return PAINTS[rng.integers(len(PAINTS))]


def traffic(
    site: Site, speed: float, duration: float, lamps: bool, zebras: Iterable[float]
) -> Iterator[Thing]:
    """All that moves while a vehicle drives at `speed` (metres a second) for `duration` seconds."""
    yield from _ahead(site, speed, lamps)
    yield from _oncoming(site, duration, lamps)
    yield from _cyclists(site, speed, duration)
    for side in (1, -1):
        yield from _strollers(site, side, duration)
    yield from _crossers(site, speed, zebras)


def _ahead(site: Site, speed: float, lamps: bool) -> Iterator[Thing]:
    """Cars in our lanes, as fast as we are."""
    rng, section = site.rng, site.section
    ours = section.lanes_left if section.traffic_side > 0 else section.lanes_right
    for number in range(ours):
        s = rng.uniform(13, 60)
        while s < SIGHT:
            d = section.lane_center(section.traffic_side, number) + rng.normal(0, 0.1)
            yield Vehicle(s, d, 0.0, random_shape(rng), random_paint(rng), speed, 2.0, lamps)
            s += site.character.traffic * rng.uniform(0.6, 2)


def _oncoming(site: Site, duration: float, lamps: bool) -> Iterator[Thing]:
    rng, section = site.rng, site.section
    theirs = section.lanes_right if section.traffic_side > 0 else section.lanes_left
    for number in range(theirs):
        fast = rng.uniform(7, 13)
        s = rng.uniform(10, 60)
        while s < site.end + fast * duration:
            d = section.lane_center(-section.traffic_side, number) + rng.normal(0, 0.1)
            yield Vehicle(s, d, np.pi, random_shape(rng), random_paint(rng), -fast, 0.0, lamps)
            s += site.character.traffic * rng.uniform(0.5, 2)


def _cyclists(site: Site, speed: float, duration: float) -> Iterator[Thing]:
    """Along either kerb, in the direction of the traffic there."""
    rng, section = site.rng, site.section
    for side in (1, -1):
        away = side == section.traffic_side
        d = side * (section.edge(side) - section.parking(side) - rng.uniform(0.5, 0.9))
        pace = rng.uniform(3.5, 5.5)
        s = rng.uniform(5, 60)
        while s < (site.end if away else site.end + pace * duration):
            yield Cyclist(s, d, pace if away else -pace, random_clothes(rng))
            s += 100 / site.character.cyclists * rng.uniform(0.4, 1.8)


def _strollers(site: Site, side: int, duration: float) -> Iterator[Thing]:
    """People on the pavement, alone or by twos."""
    rng, section = site.rng, site.section
    s = START
    while s < site.end:
        d = side * rng.uniform(section.edge(side) + 1.0, section.front(side) - 0.4)
        pace = rng.choice([-1, 1]) * rng.uniform(0.9, 1.6) if rng.random() < 0.85 else 0.0
        for number in range(2 if rng.random() < 0.25 else 1):
            place = s + 0.3 * number, d + 0.55 * number * (-side)
            height = rng.uniform(1.55, 1.9)
            clothes = random_clothes(rng)
            yield Pedestrian(*place, pace, 0.0, section.kerb, height, clothes)
        s += 100 / site.character.people * rng.uniform(0.4, 1.6)


def _crossers(site: Site, speed: float, zebras: Iterable[float]) -> Iterator[Thing]:
    """People on the zebra crossings, halfway over when we are still 25 m or more away."""
    rng = site.rng
    for s in zebras:
        if rng.random() < 0.7:
            pace = rng.choice([-1, 1]) * rng.uniform(1.0, 1.5)
            halfway = max(0.0, s - 25 - rng.uniform(0, 20)) / speed
            height = rng.uniform(1.6, 1.9)
            clothes = random_clothes(rng)
            yield Pedestrian(s, -pace * halfway, 0.0, pace, 0.0, height, clothes, ROADWAY)


def random_clothes(rng: np.random.Generator) -> Clothes:
    """How somebody is dressed."""

    def cloth(brightest: float) -> Color:
        r, g, b = rng.uniform(20, brightest) + rng.uniform(-20, 40, 3)
        return int(np.clip(r, 8, 250)), int(np.clip(g, 8, 250)), int(np.clip(b, 8, 250))

    return Clothes(
        skin=SKINS[rng.integers(len(SKINS))],
        hair=HAIRS[rng.integers(len(HAIRS))],
        top=cloth(210),
        legs=cloth(90),
        shoes=cloth(60),
    )
