"""Plans the ground of a drive: its colours, repairs and road markings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from seg_perception.datasets.street.along import Along
from seg_perception.datasets.street.ground import Ground
from seg_perception.datasets.street.marks import (
    Mark,
    arrow,
    crack,
    dashes,
    disc,
    solid,
    stripe,
    zebra,
)
from seg_perception.datasets.street.site import START, Site, Stretch

CROSSINGS_EVERY = 120.0
ZEBRA_LENGTH = 3.0


def crossings(site: Site) -> list[float]:
    """Where zebra crossings lie, s in metres."""
    places = np.arange(20, site.end, CROSSINGS_EVERY)
    places += site.rng.uniform(0, CROSSINGS_EVERY / 2, len(places))
    return [s for s in places.tolist() if site.is_clear(s)]


def pave(site: Site, lawns: Iterable[Stretch], zebras: Iterable[float]) -> Ground:
    """Colours, wear, stains and markings."""
    rng = site.rng
    asphalt = rng.uniform(70, 118) + rng.normal(0, 1.5, 3)
    pavement = rng.uniform(120, 166) + np.array([6, 1, -6]) + rng.normal(0, 5, 3)
    grass = np.array([90, 112, 56]) + rng.normal(0, 10, 3)
    zones = [
        asphalt,
        asphalt * 0.94,
        pavement * 0.75,
        pavement * 1.04,
        pavement,
        grass,
        pavement * 0.93,
    ]
    return Ground(
        section=site.section,
        palette=np.array(zones, np.float32),
        slab=rng.uniform(0.5, 1.0),
        wear=rng.uniform(0, 0.6),
        junctions=Along((j.span, j) for j in site.junctions),
        lawns=Along((lawn.span, lawn) for lawn in lawns),
        stains=Along((mark.span, mark) for mark in _stains(site)),
        white=Along((mark.span, mark) for mark in _white(site, zebras)),
        yellow=Along((mark.span, mark) for mark in _yellow(site)),
    )


def _stains(site: Site) -> Iterator[Mark]:
    rng, section = site.rng, site.section
    left, right = section.edge(1), -section.edge(-1)
    for s in np.arange(START, site.end, 9.0) + rng.uniform(0, 9):
        d, kind = rng.uniform(right + 0.6, left - 0.6), rng.random()
        if kind < 0.25:
            yield disc(s, d, 0.36, 104)
            yield disc(s, d, 0.3, 88)
        elif kind < 0.55:
            yield stripe(
                s, d, rng.uniform(1, 9), rng.uniform(0.5, 1.8), int(rng.integers(108, 142))
            )
        elif kind < 0.8:
            yield crack(s, d, rng.uniform(3, 10), rng)


def _white(site: Site, zebras: Iterable[float]) -> Iterator[Mark]:
    rng, section = site.rng, site.section
    dash, gap = ((2, 4), (4, 2), (3, 6))[rng.integers(3)]
    middle = dashes(START, site.end, 0.0, dash, gap, 0.12)
    yield from (mark for mark in middle if not _on_zebra(mark, zebras))
    for side, lanes in ((1, section.lanes_left), (-1, section.lanes_right)):
        for number in range(1, lanes):
            yield from dashes(START, site.end, side * number * section.lane_width, 2, 6, 0.1)
        if section.parking(side):
            yield from _bays(site, side)
        elif rng.random() < 0.4:
            yield from solid(START, site.end, side * (section.edge(side) - 0.3), 0.12)
    for s in zebras:
        yield from zebra(s, section, ZEBRA_LENGTH)
    for junction in site.junctions:
        yield from _stop_line(site, junction)


def _on_zebra(mark: Mark, zebras: Iterable[float]) -> bool:
    start, end = mark.span
    return any(start - ZEBRA_LENGTH < s < end + ZEBRA_LENGTH for s in zebras)


def _bays(site: Site, side: int) -> Iterator[Mark]:
    """The parking strip's border and the lines between its bays."""
    edge, width = site.section.edge(side), site.section.parking(side)
    yield from solid(START, site.end, side * (edge - width), 0.09)
    for s in np.arange(START, site.end, 6.0).tolist():
        yield stripe(s, side * (edge - width / 2), 0.1, width)


def _stop_line(site: Site, junction: Stretch) -> Iterator[Mark]:
    """Broken lines where the side road ends, arrows before it."""
    edge, s = junction.side * (site.section.edge(junction.side) + 0.3), junction.start
    for x in np.arange(s + 0.6, junction.end - 0.3, 0.9).tolist():
        yield stripe(x, edge, 0.5, 0.2)
    if site.rng.random() < 0.5:
        yield arrow(s - 14, site.section.ego_center, 1)


def _yellow(site: Site) -> Iterator[Mark]:
    """No-waiting lines along kerbs where nobody parks."""
    for side in (1, -1):
        if not site.section.parking(side) and site.rng.random() < 0.5:
            edge = site.section.edge(side)
            for inset in (0.22, 0.42):
                yield from solid(START, site.end, side * (edge - inset), 0.08)
