from __future__ import annotations

import numpy as np
import pytest

from seg_perception.datasets import Camera
from seg_perception.datasets.street.canvas import Canvas
from seg_perception.datasets.street.lens import Lens
from seg_perception.datasets.street.light import LIGHTS, Light, random_light
from seg_perception.datasets.street.noise import noise_tile, sample_tile
from seg_perception.datasets.street.texture import Texture

PLAIN = Lens(gain=(1.0, 1.0, 1.0), gamma=1.0, vignette=0.0, blur=0.0, noise=0.0)


def light(kind: str = "sunny") -> Light:
    to_sun = np.array([0.6, 0.0, 0.8])
    return LIGHTS[kind](to_sun, 0.5, np.random.default_rng(0))


def flat_canvas(level: int, depth: float) -> Canvas:
    canvas = Canvas(Camera(64, 48, 50.0, 50.0, 31.5, 23.5, 1.5, 0.0))
    canvas.image[:] = level
    canvas.depth[:] = depth
    return canvas


def test_a_face_in_the_sun_is_brighter_than_one_in_the_shade() -> None:
    toward, away = light().factor([(0.6, 0, 0.8), (-0.6, 0, -0.8)])
    assert (toward > away).all()
    assert (light().shadow < 1).all()


def test_turning_the_vehicle_turns_the_sun() -> None:
    np.testing.assert_allclose(light().seen_from(np.pi / 2).to_sun, (0, -0.6, 0.8), atol=1e-9)


def test_only_dusk_lights_lamps_and_only_the_sun_throws_shadows() -> None:
    assert light("dusk").lamps
    assert not light("sunny").lamps
    assert light("sunny").has_shadows
    assert not light("overcast").has_shadows


def test_random_lights_are_of_every_kind_and_never_below_the_horizon() -> None:
    lights = [random_light(np.random.default_rng(seed)) for seed in range(40)]
    assert 2 < sum(one.lamps for one in lights) < 20
    assert min(one.to_sun[2] for one in lights) > 0


def test_haze_thickens_with_distance_and_spares_the_sky() -> None:
    near, far, sky = (
        PLAIN.expose(flat_canvas(20, depth), light("hazy"), [0]).mean()
        for depth in (2.0, 200.0, np.inf)
    )
    assert abs(near - 20) < 5
    assert far > 100
    assert sky == 20


@pytest.mark.parametrize("deviation", [2.0, 6.0])
def test_noise_has_the_deviation_it_should_and_follows_its_seed(deviation: float) -> None:
    lens = Lens(gain=(1.0, 1.0, 1.0), gamma=1.0, vignette=0.0, blur=0.0, noise=deviation)
    first, again, other = (
        lens.expose(flat_canvas(128, np.inf), light(), seed) for seed in ([1], [1], [2])
    )
    assert first.std() == pytest.approx(deviation, rel=0.1)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_exposure_and_vignette() -> None:
    bright = Lens(gain=(2.0, 1.0, 0.5), gamma=1.0, vignette=0.5, blur=0.5, noise=0.0)
    image = bright.expose(flat_canvas(80, np.inf), light(), [0])
    assert tuple(image[24, 32]) == pytest.approx((160, 80, 40), abs=3)
    assert image[0, 0, 1] < 0.6 * image[24, 32, 1]


def test_noise_tiles_repeat_without_a_seam() -> None:
    tile = noise_tile(1.6)
    assert abs(tile.mean()) < 1e-4
    assert tile.std() == pytest.approx(1, rel=1e-3)
    seam, inside = np.abs(tile[:, 0] - tile[:, -1]).mean(), np.abs(np.diff(tile, axis=1)).mean()
    assert seam < 2 * inside
    x, y = np.array([[3.0]], np.float32), np.array([[5.0]], np.float32)
    assert sample_tile(tile, x + 1024, y - 512) == sample_tile(tile, x, y) == tile[5, 3]


def test_a_texture_is_averaged_by_halves_down_to_what_is_needed() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    texture = Texture(stripes, np.full((64, 64), 255, np.uint8))
    narrow = texture.reduced(20, 64)
    assert narrow.color.shape == (64, 32, 3)
    assert narrow.opacity.shape == (64, 32)
    assert (narrow.color == 100).all()
    assert texture.reduced(20, 64) is narrow
    assert texture.reduced(64, 64) is texture


def test_what_shines_does_so_in_any_light() -> None:
    shine = np.zeros((4, 4, 3), np.uint8)
    shine[0, 0] = 230
    lit = Texture(np.full((4, 4, 3), 100, np.uint8), shine=shine).tinted((0.1, 0.1, 0.1))
    assert tuple(lit.color[0, 0]) == (230, 230, 230)
    assert tuple(lit.color[1, 1]) == (10, 10, 10)
