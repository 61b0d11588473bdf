"""The classes of the datasets: names, colours, and the groups that sensors tell apart.

CamVid's 11 classes stand in `seg_perception.classes`, for the default model has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS, VOID, ClassInfo

Color = tuple[int, int, int]
Groups = Mapping[str, tuple[str, ...]]

NO_GROUPS: Groups = MappingProxyType({})


def numbered(named: Iterable[tuple[str, Color]]) -> tuple[ClassInfo, ...]:
    """Classes with ids in the order given."""
    return tuple(ClassInfo(i, name, color) for i, (name, color) in enumerate(named))


def voc_color(index: int) -> Color:
    """The colour of class `index` in the palette of PASCAL VOC.

    Its bits are dealt out to red, green and blue in turn, the lowest to the highest bit of each.
    """
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    return channels[0], channels[1], channels[2]


def in_voc_colors(names: str, first: int) -> tuple[ClassInfo, ...]:
    """Classes of names with commas between, in VOC's colours from the `first` on."""
    listed = names.replace("\n", " ").split(", ")
    return numbered((name, voc_color(first + i)) for i, name in enumerate(listed))


def grouped(classes: Iterable[ClassInfo], ground: tuple[str, ...]) -> Groups:
    """Groups of a street's classes: the ground named, sky, and obstacles, which is all else."""
    names = tuple(info.name for info in classes)
    others = tuple(name for name in names if name not in (*ground, "sky"))
    return MappingProxyType({"ground": ground, "sky": ("sky",), "obstacle": others})


CITYSCAPES_CLASSES = numbered(
    (
        ("road", (128, 64, 128)),
        ("sidewalk", (244, 35, 232)),
        ("building", (70, 70, 70)),
        ("wall", (102, 102, 156)),
        ("fence", (190, 153, 153)),
        ("pole", (153, 153, 153)),
        ("traffic light", (250, 170, 30)),
        ("traffic sign", (220, 220, 0)),
        ("vegetation", (107, 142, 35)),
        ("terrain", (152, 251, 152)),
        ("sky", (70, 130, 180)),
        ("person", (220, 20, 60)),
        ("rider", (255, 0, 0)),
        ("car", (0, 0, 142)),
        ("truck", (0, 0, 70)),
        ("bus", (0, 60, 100)),
        ("train", (0, 80, 100)),
        ("motorcycle", (0, 0, 230)),
        ("bicycle", (119, 11, 32)),
    )
)
"""The 19 evaluated classes of Cityscapes by train id (Cordts et al., CVPR 2016)."""

CITYSCAPES_GROUPS = grouped(CITYSCAPES_CLASSES, ("road", "sidewalk", "terrain"))

CITYSCAPES_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The `labelIds` of those classes, in their order; all other ids are void."""

CAMVID_COLORS: Mapping[str, tuple[Color, str | None]] = MappingProxyType(
    {
        "Animal": ((64, 128, 64), "pedestrian"),
        "Archway": ((192, 0, 128), "building"),
        "Bicyclist": ((0, 128, 192), "bicyclist"),
        "Bridge": ((0, 128, 64), "building"),
        "Building": ((128, 0, 0), "building"),
        "Car": ((64, 0, 128), "car"),
        "CartLuggagePram": ((64, 0, 192), "pedestrian"),
        "Child": ((192, 128, 64), "pedestrian"),
        "Column_Pole": ((192, 192, 128), "pole"),
        "Fence": ((64, 64, 128), "fence"),
        "LaneMkgsDriv": ((128, 0, 192), "road"),
        "LaneMkgsNonDriv": ((192, 0, 64), "road"),
        "Misc_Text": ((128, 128, 64), "sign"),
        "MotorcycleScooter": ((192, 0, 192), "bicyclist"),
        "OtherMoving": ((128, 64, 64), "car"),
        "ParkingBlock": ((64, 192, 128), "sidewalk"),
        "Pedestrian": ((64, 64, 0), "pedestrian"),
        "Road": ((128, 64, 128), "road"),
        "RoadShoulder": ((128, 128, 192), "sidewalk"),
        "Sidewalk": ((0, 0, 192), "sidewalk"),
        "SignSymbol": ((192, 128, 128), "sign"),
        "Sky": ((128, 128, 128), "sky"),
        "SUVPickupTruck": ((64, 128, 192), "car"),
        "TrafficCone": ((0, 0, 64), "pole"),
        "TrafficLight": ((0, 64, 64), "sign"),
        "Train": ((192, 64, 128), "car"),
        "Tree": ((128, 128, 0), "tree"),
        "Truck_Bus": ((192, 128, 192), "car"),
        "Tunnel": ((64, 0, 64), "building"),
        "VegetationMisc": ((192, 192, 0), "tree"),
        "Void": ((0, 0, 0), None),
        "Wall": ((64, 192, 0), "building"),
    }
)
"""The colours of CamVid's own labels (Brostow et al. 2009), and the class of the usual 11 that each
belongs to; None = void."""

CAMVID32_CLASSES = numbered(
    (name, color) for name, (color, _) in CAMVID_COLORS.items() if name != "Void"
)
"""The 31 classes of CamVid's own labels, which are 32 with void."""

CAMVID32_GROUPS: Groups = MappingProxyType(
    {
        group: tuple(name for name, (_, coarse) in CAMVID_COLORS.items() if coarse in members)
        for group, members in CAMVID_GROUPS.items()
    }
)


def camvid_palette(classes: tuple[ClassInfo, ...]) -> tuple[ClassInfo, ...]:
    """The 32 colours with their ids among `classes`, which are the 11 or the 31."""
    ids = {info.name: info.id for info in classes}
    coarse = classes == CAMVID_CLASSES
    return tuple(
        ClassInfo(ids.get(str(group) if coarse else name, VOID), name, color)
        for name, (color, group) in CAMVID_COLORS.items()
    )


VOC_CLASSES = in_voc_colors(
    """\
background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog,
horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor""",
    first=0,
)
"""Background and the 20 classes of PASCAL VOC 2012 (Everingham et al. 2015)."""

ADE20K_CLASSES = in_voc_colors(
    """\
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person,
earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea,
mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion,
base, box, column, signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace,
refrigerator, grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway,
river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop, stove,
palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light,
truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane, dirt track,
apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship,
fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall,
tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal,
bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray,
ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock,
flag""",
    first=1,
)
"""The 150 classes of the ADE20K scene parsing benchmark (Zhou et al., CVPR 2017), each by the first
of its names, in VOC's colours."""

FACE_CLASSES = numbered((("background", (0, 0, 255)), ("hair", (255, 0, 0)), ("skin", (0, 255, 0))))
"""Parts of a face, in the colours of the LFW part labels (Kae et al., CVPR 2013)."""

BIRD_CLASSES = numbered((("background", (0, 0, 0)), ("bird", (255, 255, 255))))
PEDESTRIAN_CLASSES = numbered((("background", (0, 0, 0)), ("pedestrian", (255, 255, 255))))
