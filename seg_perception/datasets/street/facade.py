"""Pictures of house fronts: walls, windows, shops, roofs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.noise import noise_patch
from seg_perception.datasets.street.texture import to_image

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

TEXELS_PER_METRE = 24
LARGEST = 640
STOREY = 3.1
GROUND_STOREY = 3.6
LIT_WINDOWS = 0.33

WALLS: dict[str, tuple[Color, ...]] = {
    "brick": ((142, 90, 70), (164, 112, 82), (178, 140, 104), (122, 78, 64), (188, 160, 120)),
    "render": ((222, 214, 198), (206, 196, 180), (232, 228, 220), (214, 190, 160), (188, 198, 204)),
    "stone": ((176, 166, 148), (158, 150, 136), (194, 182, 158)),
    "concrete": ((150, 150, 148), (172, 170, 164), (128, 130, 132)),
}
TRIMS: tuple[Color, ...] = ((232, 230, 224), (214, 206, 190), (72, 70, 68), (120, 96, 76))
PAINTS: tuple[Color, ...] = (
    (34, 62, 92), (120, 30, 34), (28, 78, 58), (40, 40, 44), (196, 176, 60), (92, 52, 88),
    (206, 202, 192), (24, 96, 132),
)  # fmt: skip
ROOFS: tuple[Color, ...] = ((96, 70, 62), (74, 76, 82), (118, 82, 66), (88, 84, 80))


@dataclass(frozen=True)
class Facade:
    """How a front looks.

    Attributes:
        width, height: metres.
        material: key of `WALLS`.
        wall, trim, paint: colours of the wall, the window frames, and the door or shop.
        shade: brightness of the wall against others, about 1.
        bay: distance between windows, metres.
        window: width and height of a window, metres.
        ground_floor: "shop", "home" or "office".
        seed: of everything that differs from window to window.
    """

    width: float
    height: float
    material: str
    wall: Color
    trim: Color
    paint: Color
    shade: float
    bay: float
    window: tuple[float, float]
    ground_floor: str
    seed: int


def random_facade(
    width: float, height: float, ground_floor: str, rng: np.random.Generator
) -> Facade:
    """A front of the given size in metres."""
    modern = ground_floor == "office"
    materials = ["concrete"] if modern else ["brick"] * 3 + ["render"] * 2 + ["stone"]
    wide, high = ((1.6, 2.6), (1.5, 2.0)) if modern else ((0.9, 1.4), (1.3, 1.9))
    material = materials[rng.integers(len(materials))]
    window = rng.uniform(*wide), rng.uniform(*high)
    return Facade(
        width=width,
        height=height,
        material=material,
        wall=WALLS[material][rng.integers(len(WALLS[material]))],
        trim=TRIMS[rng.integers(len(TRIMS))],
        paint=PAINTS[rng.integers(len(PAINTS))],
        shade=rng.uniform(0.88, 1.1),
        bay=window[0] + rng.uniform(0.5, 1.0 if modern else 1.6),
        window=window,
        ground_floor=ground_floor,
        seed=int(rng.integers(2**31)),
    )


def paint_front(facade: Facade, lamps: bool) -> tuple[Image, Image]:
    """Paint a front.

    Returns:
        color: uint8 [h, w, 3] as it is in white light.
        shine: uint8 [h, w, 3] what shines by itself (lit windows, where `lamps`).
    """
    return _Painter(facade, lamps).painted()


class _Painter:
    """Paints one front, in metres from its top left corner."""

    def __init__(self, facade: Facade, lamps: bool) -> None:
        self._facade, self._lamps = facade, lamps
        self._rng = np.random.default_rng(facade.seed)
        self._scale = min(TEXELS_PER_METRE, LARGEST / max(facade.width, facade.height))
        size = (round(facade.height * self._scale), round(facade.width * self._scale))
        self._color = _wall(facade, *size, self._rng)
        self._shine = np.zeros_like(self._color)

    def painted(self) -> tuple[Image, Image]:
        facade = self._facade
        ground = facade.height - GROUND_STOREY
        for top in np.arange(ground - STOREY, 0.25, -STOREY).tolist():
            self._storey(top)
        if facade.ground_floor != "gable":
            self._bands(ground)
            GROUND_FLOORS[facade.ground_floor](self, ground)
        return self._color, self._shine

    def _rectangle(self, x: float, y: float, width: float, height: float, color: Color) -> None:
        corners = np.round(np.array([x, y, x + width, y + height]) * self._scale).astype(int)
        left, top, right, bottom = corners.tolist()
        cv2.rectangle(self._color, (left, top), (right - 1, bottom - 1), color, cv2.FILLED)
        self._shine[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 0

    def _columns(self) -> list[float]:
        """Left edges of the windows of a storey."""
        width, bay = self._facade.window[0], self._facade.bay
        count = max(1, int((self._facade.width - 0.4) / bay))
        margin = (self._facade.width - count * bay) / 2
        return [margin + bay * i + (bay - width) / 2 for i in range(count)]

    def _storey(self, top: float) -> None:
        width, height = self._facade.window
        for x in self._columns():
            self._window(x, top + (STOREY - height) / 2, width, height)

    def _bands(self, ground: float) -> None:
        """Cornice, string course above the ground floor, plinth."""
        width, wall = self._facade.width, self._facade.wall
        trim = _scaled(self._facade.trim, 0.9)
        self._rectangle(0, 0, width, 0.28, trim)
        self._rectangle(0, 0.28, width, 0.08, _scaled(wall, 0.6))
        self._rectangle(0, ground - 0.15, width, 0.15, trim)
        self._rectangle(0, self._facade.height - 0.4, width, 0.4, _scaled(wall, 0.7))

    def _window(self, x: float, y: float, width: float, height: float) -> None:
        trim = self._facade.trim
        self._rectangle(x - 0.1, y - 0.1, width + 0.2, height + 0.2, _scaled(trim, 0.95))
        self._rectangle(x - 0.16, y + height + 0.06, width + 0.32, 0.1, trim)
        self._glass(x, y, width, height)
        if self._scale * width > 8:
            self._rectangle(x + width / 2 - 0.03, y, 0.06, height, trim)
            self._rectangle(x, y + height * 0.45, width, 0.06, trim)

    def _glass(self, x: float, y: float, width: float, height: float) -> None:
        """A pane: it mirrors the sky above, shows the dark room or a curtain below."""
        left, top, right, bottom = (
            np.round(np.array([x, y, x + width, y + height]) * self._scale).astype(int).tolist()
        )
        pane = self._color[top:bottom, left:right]
        if pane.size == 0:
            return
        sky, room = self._rng.uniform(60, 150), self._rng.uniform(22, 60)
        shades = np.linspace(sky, room, pane.shape[0])[:, None, None]
        pane[:] = np.clip(shades * (0.92, 1.0, 1.08), 0, 255).astype(np.uint8)
        if self._rng.random() < 0.3:
            pane[:, : max(1, pane.shape[1] // 4)] = (200, 194, 182)
        if self._lamps and self._rng.random() < LIT_WINDOWS:
            warm, fade = self._rng.uniform(0.3, 0.9), np.linspace(1, 0.7, pane.shape[0])
            glow = np.multiply.outer(fade * warm, (255, 206, 128))
            self._shine[top:bottom, left:right] = glow[:, None].astype(np.uint8)

    def _shop(self, top: float) -> None:
        width, paint = self._facade.width, self._facade.paint
        height = self._facade.height - top
        self._rectangle(0, top, width, height, _scaled(paint, 0.9))
        self._rectangle(0, top, width, 0.12, _scaled(paint, 0.6))
        pane = 2.2
        count = max(1, int(width / (pane + 0.2)))
        step = width / count
        door = self._rng.integers(count)
        for i in range(count):
            low = 0.15 if i == door else 0.6
            self._glass(i * step + 0.12, top + 0.95, step - 0.24, height - 0.95 - low)
            self._goods(i * step + 0.2, top + height - low - 0.9, step - 0.4)

    def _goods(self, x: float, y: float, width: float) -> None:
        """Coloured things in a shop window."""
        for _ in range(5):
            color = self._rng.integers(50, 220, 3).tolist()
            left = x + self._rng.uniform(0, 0.8) * width
            self._rectangle(left, y + self._rng.uniform(0.1, 0.5), 0.2, 0.35, tuple(color))

    def _home(self, top: float) -> None:
        columns = self._columns()
        width, height = self._facade.window
        door = self._rng.integers(len(columns))
        for i, x in enumerate(columns):
            if i == door:
                self._rectangle(x, top + 0.9, 1.1, 2.7, self._facade.trim)
                self._rectangle(x + 0.1, top + 1.3, 0.9, 2.3, self._facade.paint)
                self._glass(x + 0.1, top + 1.0, 0.9, 0.28)
            else:
                self._window(x, top + 1.0, width, height)

    def _lobby(self, top: float) -> None:
        height = self._facade.height - top
        for x in self._columns():
            self._glass(x - 0.15, top + 0.4, self._facade.window[0] + 0.3, height - 0.5)


GROUND_FLOORS = {"shop": _Painter._shop, "home": _Painter._home, "office": _Painter._lobby}


def _wall(facade: Facade, height: int, width: int, rng: np.random.Generator) -> Image:
    """Bare wall, weathered from the top down."""
    grain = noise_patch(0.4, height, width, rng) * (9 if facade.material == "brick" else 4)
    if facade.material == "brick":
        grain = 2 * np.asarray(cv2.blur(grain, (7, 1)), np.float32)
        grain[1::3] -= 5
    stain = noise_patch(1.1, height, width, rng) * 5
    weather = np.linspace(1.04, 0.9, height)[:, None, None]
    color = np.asarray(facade.wall, np.float32) * weather + (grain + stain)[..., None]
    return to_image(color)


def gable(facade: Facade, depth: float) -> Facade:
    """The plain side wall of a house of that depth; many houses share one."""
    return replace(
        facade,
        width=2.0 * round(depth / 2),
        height=STOREY * round(facade.height / STOREY),
        trim=TRIMS[0],
        paint=PAINTS[0],
        shade=1.0,
        bay=2.0 * round(depth / 2),
        window=(0.7, 1.1),
        ground_floor="gable",
        seed=facade.seed % 2,
    )


def paint_roof(color: Color) -> Image:
    """Rows of tiles: uint8 [h, w, 3]."""
    grain = noise_patch(0.5, 72, 160, np.random.default_rng(3))[..., None]
    picture = np.asarray(color, np.float32) * (1 + 0.08 * grain)
    picture[::6] *= 0.75
    return to_image(picture)


WORDS = (
    "BAKERY", "BOOKS", "CAFE", "FLOWERS", "OPTICIAN", "TAILOR", "HARDWARE", "DELI", "BANK", "TOYS",
    "PHARMACY", "SHOES", "CYCLES", "RECORDS", "FISH BAR", "BARBER", "ANTIQUES", "TEA ROOM",
)  # fmt: skip


def paint_sign(width: float, height: float, color: Color, seed: int) -> Image:
    """A shop's name on a board of the given size in metres: uint8 [h, w, 3]."""
    rng = np.random.default_rng(seed)
    size = (max(8, round(height * 40)), max(8, round(width * 40)))
    board = np.full((*size, 3), color, np.uint8)
    ink = (238, 226, 190) if sum(color) < 380 else (40, 36, 40)
    word = WORDS[rng.integers(len(WORDS))]
    scale = min(size[0] / 34, size[1] / (20 * len(word)))
    (w, h), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, scale, 1)
    start = ((size[1] - w) // 2, (size[0] + h) // 2)
    cv2.putText(board, word, start, cv2.FONT_HERSHEY_DUPLEX, scale, ink, 1, cv2.LINE_AA)
    return board


def _scaled(color: Color, factor: float) -> Color:
    r, g, b = (int(min(255, channel * factor)) for channel in color)
    return r, g, b
