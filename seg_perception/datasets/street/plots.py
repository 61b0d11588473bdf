"""Plans what stands beyond the pavement: terraces, houses with gardens, offices, parks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from seg_perception.datasets.street.buildings import Building
from seg_perception.datasets.street.facade import GROUND_STOREY, ROOFS, STOREY, random_facade
from seg_perception.datasets.street.furniture import Fence
from seg_perception.datasets.street.site import START, Site, Stretch
from seg_perception.datasets.street.stage import BEYOND, CHUNK, Thing
from seg_perception.datasets.street.vegetation import VARIANTS, Hedge, Tree

Plot = Callable[[Site, int, float, float], Iterator[Thing]]


def build(site: Site, side: int) -> tuple[list[Thing], list[Stretch]]:
    """Fill one side with plots.

    Returns:
        things: what stands there.
        lawns: which of the plots are green.
    """
    things: list[Thing] = []
    lawns: list[Stretch] = []
    for start, end in _between_junctions(site, side):
        s = start
        while s < end - 4:
            kind = int(site.rng.choice(len(PLOTS), p=site.character.plots))
            plot, shortest, longest, green = PLOTS[kind]
            stop = min(end, s + site.rng.uniform(shortest, longest))
            stop = end if end - stop < 8 else stop
            things += plot(site, side, s, stop)
            lawns += [Stretch(s, stop, side)] if green else []
            s = stop
    return things, lawns


def random_tree(site: Site, s: float, d: float, tallest: float, layer: int) -> Tree:
    """A tree of the season."""
    rng = site.rng
    if rng.random() < site.character.bare:
        kind = "bare"
    else:
        kind = str(rng.choice(["broad", "conifer", "bush"], p=[0.76, 0.1, 0.14]))
    height = 1.6 if kind == "bush" else tallest * rng.uniform(0.6, 1.0)
    shade, variant = rng.uniform(0.85, 1.15), int(rng.integers(VARIANTS))
    return Tree(s, d, height, kind, site.character.leaves, shade, variant, layer)


def _between_junctions(site: Site, side: int) -> Iterator[tuple[float, float]]:
    start = START
    for junction in sorted((j for j in site.junctions if j.side == side), key=lambda j: j.start):
        yield start, junction.start - 0.5
        start = junction.end + 0.5
    yield start, site.end


def _terrace(site: Site, side: int, start: float, end: float) -> Iterator[Thing]:
    """Houses wall to wall."""
    rng, s = site.rng, start
    front = site.section.front(side) + 0.05
    storeys = max(1, round(rng.normal(site.character.storeys, 0.6)))
    neighbour = 0.0
    while s < end:
        width = rng.uniform(5, 12)
        stop = end if end - s - width < 4 else s + width
        floors = max(1, storeys + int(rng.integers(-1, 2)))
        ground_floor = "shop" if rng.random() < site.character.shops else "home"
        height = GROUND_STOREY + STOREY * (floors - 1) + rng.uniform(0.4, 1.0)
        facade = random_facade(stop - s, height, ground_floor, rng)
        roof = ROOFS[rng.integers(len(ROOFS))] if rng.random() < 0.7 else None
        pitch = rng.uniform(2, 3.4) if roof else 0.0
        yield Building(s, stop, side, front, rng.uniform(8, 12), facade, roof, pitch, neighbour)
        s, neighbour = stop, height


def _house(site: Site, side: int, start: float, end: float) -> Iterator[Thing]:
    """A detached house behind its garden."""
    rng = site.rng
    front, setback = site.section.front(side), rng.uniform(3, 7)
    yield from _border(site, side, start, end)
    height = GROUND_STOREY + STOREY * int(rng.integers(1, 3)) - 0.4
    left, right = start + rng.uniform(1, 3), end - rng.uniform(1, 3)
    facade = random_facade(right - left, height, "home", rng)
    roof = ROOFS[rng.integers(len(ROOFS))]
    yield Building(left, right, side, front + setback, 9.0, facade, roof, rng.uniform(2.5, 4), 0.0)
    for _ in range(int(rng.integers(0, 4))):
        d = side * (front + rng.uniform(1, setback))
        yield random_tree(site, rng.uniform(start, end), d, 7.0, BEYOND)


def _office(site: Site, side: int, start: float, end: float) -> Iterator[Thing]:
    """One large building a little back from the pavement."""
    rng = site.rng
    height = GROUND_STOREY + STOREY * int(rng.integers(2, 6)) + 0.6
    facade = random_facade(end - start - 2, height, "office", rng)
    front = site.section.front(side) + rng.uniform(0.1, 2.5)
    yield Building(start + 1, end - 1, side, front, 14.0, facade, None, 0.0, 0.0)


def _park(site: Site, side: int, start: float, end: float) -> Iterator[Thing]:
    """Trees behind a fence or a hedge."""
    rng, front = site.rng, site.section.front(side)
    yield from _border(site, side, start, end)
    for _ in range(int((end - start) / rng.uniform(2.2, 5))):
        d = side * (front + rng.uniform(1.5, 22))
        yield random_tree(site, rng.uniform(start, end), d, 13.0, BEYOND)


def _border(site: Site, side: int, start: float, end: float) -> Iterator[Thing]:
    """What divides a plot from the pavement, in pieces that lie in one chunk each."""
    rng, distance = site.rng, site.section.front(side) + 0.15
    kind = str(
        rng.choice(["railing", "boards", "wall", "hedge", "none"], p=[0.42, 0.2, 0.13, 0.17, 0.08])
    )
    height, shade = rng.uniform(0.9, 1.7), rng.uniform(0.8, 1.2)
    r, g, b = (int(channel * shade) for channel in FENCE_COLORS.get(kind, site.character.leaves))
    first = np.ceil(start / CHUNK) * CHUNK
    for s in np.arange(first, np.floor(end / CHUNK) * CHUNK, CHUNK):
        if kind == "hedge":
            yield Hedge(s, s + CHUNK, side, distance, height, (r, g, b))
        elif kind != "none":
            yield Fence(s, s + CHUNK, side, distance, height, kind, (r, g, b))


FENCE_COLORS = {"railing": (44, 48, 48), "boards": (132, 100, 70), "wall": (150, 104, 82)}

PLOTS: tuple[tuple[Plot, float, float, bool], ...] = (
    (_terrace, 25, 70, False),
    (_house, 14, 22, True),
    (_office, 18, 40, False),
    (_park, 20, 60, True),
)
"""Each kind of plot: its plan, its shortest and longest stretch, whether it is green."""
