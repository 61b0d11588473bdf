from __future__ import annotations

import array
import json
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from seg_perception.classes import CAMVID_CLASSES, ClassInfo
from seg_perception.datasets.catalogue import ADE20K_CLASSES, CITYSCAPES_CLASSES
from seg_perception.errors import MessageError
from seg_perception.ros import messages
from seg_perception.ros.messages import (
    decode_compressed,
    from_array,
    image_view,
    label_info,
    stamp_ns,
    to_jpeg,
    to_label_map,
    to_rgb,
)

RNG = np.random.default_rng(0)
RED, GREEN, BLUE = 200, 100, 50
LAYOUTS = {
    "rgb8": ("u1", 3), "bgr8": ("u1", 3), "rgba8": ("u1", 4), "bgra8": ("u1", 4),
    "mono8": ("u1", 1), "mono16": ("u2", 1), "16UC1": ("u2", 1), "32FC1": ("f4", 1),
    "8UC1": ("u1", 1), "8UC3": ("u1", 3), "rgb16": ("u2", 3), "32FC3": ("f4", 3),
    "64FC1": ("f8", 1), "16SC2": ("i2", 2),
}  # fmt: skip


def image_message(
    pixels: NDArray[np.generic], encoding: str, *, padding: int = 0, big: bool = False
) -> Image:
    """A message of [h,w] or [h,w,channels] with `padding` bytes of rubbish after every row."""
    ordered = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<"))
    rows = ordered.reshape(len(pixels), -1).view(np.uint8)
    rubbish = np.full((len(rows), padding), 0xEE, np.uint8)
    padded = np.hstack([rows, rubbish])
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.is_bigendian = int(big)
    message.step = padded.shape[1]
    message.data = array.array("B", padded.tobytes())
    return message


def compressed(data: bytes, name: str = "jpeg") -> CompressedImage:
    message = CompressedImage(format=name)
    message.data = array.array("B", data)
    return message


def encoded(pixels: NDArray[np.uint8], suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, pixels[..., ::-1])[1])


def photo(height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Uint8 [h,w,3] RGB, smooth so that JPEG keeps it."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 3, y * 4, 255 - x * 2], axis=-1).astype(np.uint8)


@given(
    encoding=st.sampled_from(sorted(LAYOUTS)),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    padding=st.integers(0, 7),
    big=st.booleans(),
)
def test_view_is_what_was_sent(
    encoding: str, height: int, width: int, padding: int, big: bool
) -> None:
    dtype, channels = LAYOUTS[encoding]
    shape = (height, width) if channels == 1 else (height, width, channels)
    sent = RNG.integers(0, 100, shape).astype(dtype)
    message = image_message(sent, encoding, padding=padding, big=big)
    view = image_view(message)
    np.testing.assert_array_equal(view, sent)
    assert np.shares_memory(view, np.frombuffer(message.data, np.uint8)), "nothing is copied"


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["rgb", "bgr", "rgba", "bgra"])
def test_every_color_order_becomes_rgb(order: str, bits: int, big: bool, padding: int) -> None:
    rgb = RNG.integers(0, 256, (4, 6, 3), np.uint8)
    planes = {"r": rgb[..., 0], "g": rgb[..., 1], "b": rgb[..., 2], "a": rgb[..., 0] // 2}
    sent = np.stack([planes[name] for name in order], axis=-1)
    if bits == 16:
        sent = (sent.astype(np.uint16) << 8) | 0x7F
    message = image_message(sent, f"{order}{bits}", padding=padding, big=big)
    np.testing.assert_array_equal(to_rgb(message), rgb)


def test_rgb8_is_read_without_a_copy() -> None:
    message = image_message(photo(), "rgb8", padding=3)
    assert np.shares_memory(to_rgb(message), np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize(("encoding", "shift"), [("mono8", 0), ("mono16", 8), ("8UC1", 0)])
def test_grey_becomes_rgb(encoding: str, shift: int) -> None:
    grey = RNG.integers(0, 256, (4, 6), np.uint8)
    sent = grey if shift == 0 else grey.astype(np.uint16) << shift
    expected = grey[..., None].repeat(3, axis=-1)
    np.testing.assert_array_equal(to_rgb(image_message(sent, encoding)), expected)


def test_unnamed_colors_are_in_the_order_of_opencv() -> None:
    np.testing.assert_array_equal(to_rgb(image_message(photo()[..., ::-1].copy(), "8UC3")), photo())


@pytest.fixture(params=["opencv", "cv_bridge"])
def exotic_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of reading what is not a plain array."""
    messages._cv_bridge.cache_clear()
    if request.param == "cv_bridge":
        pytest.importorskip("cv_bridge")
    else:
        monkeypatch.setitem(sys.modules, "cv_bridge", None)
    yield
    messages._cv_bridge.cache_clear()


@pytest.mark.usefixtures("exotic_reader")
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_give_the_right_colors(pattern: str, bits: int) -> None:
    color = {"r": RED, "g": GREEN, "b": BLUE}
    tile = np.array([color[letter] for letter in pattern]).reshape(2, 2)
    mosaic = np.tile(tile, (6, 8)).astype(np.uint8)
    sent = mosaic if bits == 8 else mosaic.astype(np.uint16) << 8
    rgb = to_rgb(image_message(sent, f"bayer_{pattern}{bits}"))
    np.testing.assert_array_equal(rgb[2:-2, 2:-2], np.full((8, 12, 3), [RED, GREEN, BLUE]))


@pytest.mark.usefixtures("exotic_reader")
@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2"])
def test_yuv_422_gives_the_right_colors(encoding: str) -> None:
    y, u, v = 82, 90, 240  # red in BT.601
    pair = [[u, y], [v, y]] if encoding in ("uyvy", "yuv422") else [[y, u], [y, v]]
    rgb = to_rgb(image_message(np.tile(np.array(pair, np.uint8), (4, 3, 1)), encoding))
    assert rgb.shape == (4, 6, 3)
    assert np.abs(rgb.astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.usefixtures("exotic_reader")
def test_nv21_gives_the_right_colors() -> None:
    luma = np.full((4, 6), 82, np.uint8)
    chroma = np.tile(np.array([240, 90], np.uint8), (2, 3))
    message = image_message(np.vstack([luma, chroma]), "nv21")
    message.height = 4
    assert np.abs(to_rgb(message).astype(int) - [255, 0, 0]).max() <= 3


def test_odd_yuv_is_refused() -> None:
    with pytest.raises(MessageError, match="even width"):
        to_rgb(image_message(np.zeros((4, 5, 2), np.uint8), "uyvy"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"height": 0}, "64x0 pixels"),
        ({"width": 0, "height": 0}, "0x0 pixels"),
        ({"step": 100}, r"step is 100, but a row of 64 rgb8 pixels has 192 bytes"),
        ({"step": 0}, "step is 0"),
        ({"step": 193}, "data has 9216 bytes, but 48 rows of step 193 have 9264"),
        ({"height": 49}, "data has 9216 bytes, but 49 rows"),
        ({"height": 47}, "data has 9216 bytes, but 47 rows"),
        ({"data": array.array("B")}, "data has 0 bytes"),
        ({"width": 2**32 - 1, "height": 2**32 - 1}, "step is 192"),
        ({"encoding": ""}, "unknown encoding ''"),
        ({"encoding": "rgb9"}, r"unknown encoding 'rgb9': publish one of mono8"),
        ({"encoding": "8UC0"}, "unknown encoding '8UC0'"),
    ],
)
def test_malformed_image_is_refused_with_what_was_found(
    changes: dict[str, object], said: str
) -> None:
    message = image_message(photo(), "rgb8")
    for field, value in changes.items():
        setattr(message, field, value)
    with pytest.raises(MessageError, match=said):
        to_rgb(message)


@pytest.mark.parametrize("encoding", ["32FC1", "16UC1"])
def test_depth_is_no_picture(encoding: str) -> None:
    dtype = {"32FC1": np.float32, "16UC1": np.uint16}[encoding]
    with pytest.raises(MessageError, match="no picture"):
        to_rgb(image_message(np.zeros((4, 6), dtype), encoding))


@pytest.mark.parametrize("name", ["jpeg", "bgr8; jpeg compressed bgr8", ""])
def test_jpeg_is_decoded(name: str) -> None:
    rgb = decode_compressed(compressed(encoded(photo(), ".jpg"), name))
    assert np.abs(rgb.astype(int) - photo()).mean() < 3


def test_png_is_decoded_exactly() -> None:
    np.testing.assert_array_equal(
        decode_compressed(compressed(encoded(photo(), ".png"), "png")), photo()
    )


def test_jpeg_with_trailing_padding_is_decoded() -> None:
    data = encoded(photo(), ".jpg") + bytes(64)
    assert decode_compressed(compressed(data)).shape == (48, 64, 3)


def test_jpeg_stays_as_it_was_taken_whatever_exif_says() -> None:
    plain = encoded(photo(), ".jpg")
    # One EXIF entry: orientation (0x0112) 6, "turn by 90 degrees".
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    turned = plain[:2] + segment + plain[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (64, 48, 3)
    np.testing.assert_array_equal(
        decode_compressed(compressed(turned)), decode_compressed(compressed(plain))
    )


@given(kept=st.floats(0, 1, exclude_max=True), suffix=st.sampled_from([".jpg", ".png"]))
def test_truncated_image_is_refused_wherever_it_ends(kept: float, suffix: str) -> None:
    data = encoded(photo(), suffix)
    with pytest.raises(MessageError, match=r"truncated|neither JPEG nor PNG|damaged"):
        decode_compressed(compressed(data[: int(kept * (len(data) - 2))]))


@given(st.binary(max_size=64))
def test_rubbish_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError):
        decode_compressed(compressed(data))
    with pytest.raises(MessageError):
        decode_compressed(compressed(b"\xff\xd8" + data + b"\xff\xd9"))


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_label_map_is_a_view(encoding: str) -> None:
    labels = RNG.integers(0, 256, (4, 6), np.uint8)
    message = image_message(labels, encoding, padding=2)
    np.testing.assert_array_equal(to_label_map(message), labels)
    assert np.shares_memory(to_label_map(message), np.frombuffer(message.data, np.uint8))


def test_label_map_of_another_encoding_is_refused() -> None:
    with pytest.raises(MessageError, match="mono8, this one has 'rgb8'"):
        to_label_map(image_message(photo(), "rgb8"))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_array_survives_the_way_there_and_back(shape: tuple[int, ...]) -> None:
    pixels = RNG.integers(0, 256, shape, np.uint8)
    header = Header(frame_id="front")
    header.stamp.sec, header.stamp.nanosec = 12, 34
    message = from_array(pixels, "mono8" if len(shape) == 2 else "rgb8", header)
    assert message.header == header
    np.testing.assert_array_equal(image_view(message), pixels)


def test_array_may_be_a_view_with_steps() -> None:
    pixels = RNG.integers(0, 256, (8, 12), np.uint8)
    message = from_array(pixels[::2, ::3], "mono8", Header())
    assert (message.height, message.width, message.step) == (4, 4, 4)
    np.testing.assert_array_equal(image_view(message), pixels[::2, ::3])


def test_jpeg_survives_the_way_there_and_back() -> None:
    message = to_jpeg(photo(), Header(frame_id="front"))
    assert message.header.frame_id == "front"
    assert np.abs(decode_compressed(message).astype(int) - photo()).mean() < 3


@pytest.mark.parametrize("classes", [CAMVID_CLASSES, CITYSCAPES_CLASSES, ADE20K_CLASSES])
def test_label_info_names_every_class(classes: tuple[ClassInfo, ...]) -> None:
    message = label_info(classes, Header())
    if isinstance(message, String):
        named = {c["class_id"]: c["class_name"] for c in json.loads(message.data)["class_map"]}
    else:
        named = {c.class_id: c.class_name for c in message.class_map}
    assert named == {info.id: info.name for info in classes}


def test_stamp_is_exact() -> None:
    header = Header()
    header.stamp.sec, header.stamp.nanosec = 1_700_000_000, 123_456_789
    assert stamp_ns(header) == 1_700_000_000_123_456_789
