"""Plans what stands on the pavement and along the kerb."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from seg_perception.datasets.street.furniture import (
    PLATES,
    STEEL,
    Bollard,
    Fence,
    LampPost,
    TrafficLight,
    TrafficSign,
)
from seg_perception.datasets.street.plots import random_tree
from seg_perception.datasets.street.site import START, Site
from seg_perception.datasets.street.stage import CHUNK, PAVEMENT, Thing
from seg_perception.datasets.street.traffic import random_paint, random_shape
from seg_perception.datasets.street.vehicles import SHAPES, Vehicle

FROM_KERB = 0.55


def furnish(site: Site, side: int, zebras: Iterable[float]) -> Iterator[Thing]:
    """One side's lamps, trees, signs, bollards and parked cars."""
    kerb = side * (site.section.edge(side) + FROM_KERB)
    yield from _lamps(site, side, kerb)
    yield from _trees(site, side, kerb)
    yield from _signs(site, side, kerb)
    yield from _bollards(site, side, kerb)
    yield from _rails(site, side, kerb)
    if site.section.parking(side):
        yield from _parked(site, side)
    for s in zebras:
        if site.rng.random() < 0.6:
            yield TrafficLight(s - 2.5, kerb, site.rng.uniform(7, 13), site.rng.uniform(0, 20))
    for junction in site.junctions:
        if junction.side == side and site.rng.random() < 0.5:
            yield TrafficLight(junction.start - 1.5, kerb, 10.0, site.rng.uniform(0, 20))


def _places(site: Site, side: int, spacing: float) -> Iterator[float]:
    """Places along one side, more or less evenly spaced, none in a side road."""
    s = START + site.rng.uniform(0, spacing)
    while s < site.end:
        if site.is_clear(s, side):
            yield s
        s += spacing * site.rng.uniform(0.75, 1.25)


def _lamps(site: Site, side: int, kerb: float) -> Iterator[Thing]:
    height, shade = site.rng.uniform(5.5, 9), site.rng.uniform(60, 150)
    color = (int(shade), int(shade), int(shade * 1.02))
    for s in _places(site, side, site.rng.uniform(22, 38)):
        yield LampPost(s, kerb, side, height, color)


def _trees(site: Site, side: int, kerb: float) -> Iterator[Thing]:
    if np.isfinite(site.character.street_trees):
        for s in _places(site, side, site.character.street_trees):
            tree = random_tree(site, s, kerb + 0.3 * side, 9.0, PAVEMENT)
            if tree.kind != "bush":
                yield tree


def _signs(site: Site, side: int, kerb: float) -> Iterator[Thing]:
    kinds = sorted(PLATES)
    for s in _places(site, side, site.rng.uniform(14, 40)):
        kind = kinds[site.rng.integers(len(kinds))]
        yield TrafficSign(s, kerb, kind, site.rng.uniform(2.2, 3.2))


def _bollards(site: Site, side: int, kerb: float) -> Iterator[Thing]:
    for s in _places(site, side, 45):
        if site.rng.random() < 0.4:
            for step in range(int(site.rng.integers(2, 6))):
                yield Bollard(s + 1.6 * step, kerb, (40, 42, 44))


def _rails(site: Site, side: int, kerb: float) -> Iterator[Thing]:
    """Railings that keep people from crossing, in pieces that lie in one chunk each."""
    for s in np.arange(START, site.end, 5 * CHUNK):
        if site.rng.random() < site.character.guarded:
            for piece in s + CHUNK * np.arange(5):
                if site.is_clear(piece, side) and site.is_clear(piece + CHUNK, side):
                    end = piece + CHUNK
                    yield Fence(piece, end, side, abs(kerb), 1.05, "railing", STEEL, PAVEMENT)


def _parked(site: Site, side: int) -> Iterator[Thing]:
    d = side * (site.section.edge(side) - site.section.parking(side) / 2)
    yaw = 0.0 if side == site.section.traffic_side else np.pi
    s = START
    while s < site.end:
        shape = random_shape(site.rng, with_bus=False)
        length = SHAPES[shape].length
        if site.is_clear(s, side) and site.rng.random() < site.character.parked:
            yield Vehicle(s, d, yaw + site.rng.normal(0, 0.02), shape, random_paint(site.rng))
        s += length + site.rng.uniform(0.8, 2.0)
