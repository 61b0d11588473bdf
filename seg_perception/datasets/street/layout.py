"""Puts together all that one drive meets."""

from __future__ import annotations

from dataclasses import dataclass

from seg_perception.datasets.street.along import Along
from seg_perception.datasets.street.furnish import furnish
from seg_perception.datasets.street.ground import Ground
from seg_perception.datasets.street.paving import crossings, pave
from seg_perception.datasets.street.plots import build
from seg_perception.datasets.street.site import Site, Stretch
from seg_perception.datasets.street.stage import Thing
from seg_perception.datasets.street.traffic import traffic


@dataclass(frozen=True, eq=False)
class Layout:
    """A street with everything in it.

    Attributes:
        ground: with its markings.
        standing: what does not move.
        moving: what does.
    """

    ground: Ground
    standing: Along[Thing]
    moving: tuple[Thing, ...]

    def between(self, start: float, end: float, time_s: float) -> list[Thing]:
        """What touches a stretch of the road then."""
        reaches = ((thing, thing.reach(time_s)) for thing in self.moving)
        moving = [thing for thing, (near, far) in reaches if far >= start and near <= end]
        return self.standing.between(start, end) + moving


def lay_out(site: Site, speed: float, duration: float, lamps: bool) -> Layout:
    """Fill a street for a drive.

    Args:
        site: the empty street.
        speed: of the vehicle, metres a second.
        duration: of the drive, seconds.
        lamps: whether it is dark enough for lamps.
    """
    zebras = crossings(site)
    standing: list[Thing] = []
    lawns: list[Stretch] = []
    for side in (1, -1):
        built, green = build(site, side)
        lawns += green
        standing += [*built, *furnish(site, side, zebras)]
    ground = pave(site, lawns, zebras)
    moving = tuple(traffic(site, speed, duration, lamps, zebras))
    return Layout(ground, Along((thing.reach(0.0), thing) for thing in standing), moving)
