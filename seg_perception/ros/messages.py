"""ROS image messages to arrays and back.

Common encodings become views of the message's own memory (a padded step and both byte orders
included), so reading a frame costs nothing; see `image_view`.
"""

from __future__ import annotations

import array
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from seg_perception.classes import ClassInfo, classes_to_json
from seg_perception.errors import MessageError

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:
    LabelInfo = None

LABEL_INFO_TYPE = String if LabelInfo is None else LabelInfo
"""Message type of `~/label_info`: vision_msgs/LabelInfo where that is installed."""

JPEG_QUALITY = 90


@dataclass(frozen=True)
class PixelLayout:
    """How the pixels of an encoding lie in memory.

    Attributes:
        dtype: numpy type of a channel, without byte order: "u1", "u2", "f4", ...
        channels: per pixel; 1 gives arrays [h,w], more give [h,w,channels].
        rows_per_row: rows of data for one row of pixels; 1.5 for planar YUV 4:2:0.
    """

    dtype: str
    channels: int
    rows_per_row: float = 1.0


_MONO = {"mono8": PixelLayout("u1", 1), "mono16": PixelLayout("u2", 1)}
_COLOR = {
    name + bits: PixelLayout(dtype, len(name))
    for name in ("rgb", "bgr", "rgba", "bgra")
    for bits, dtype in (("8", "u1"), ("16", "u2"))
}
_BAYER = {
    f"bayer_{pattern}{bits}": PixelLayout(dtype, 1)
    for pattern in ("rggb", "bggr", "gbrg", "grbg")
    for bits, dtype in (("8", "u1"), ("16", "u2"))
}
_YUV = {
    **dict.fromkeys(("uyvy", "yuv422", "yuyv", "yuv422_yuy2"), PixelLayout("u1", 2)),
    "nv21": PixelLayout("u1", 1, rows_per_row=1.5),
}
_LAYOUTS = {**_MONO, **_COLOR, **_BAYER, **_YUV}
_DIGITS = "0123456789"
_OPENCV_TYPE = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)C([1-9]\d?)?")

# OpenCV names a Bayer pattern by its second row and column, ROS by its first.
_TO_RGB = {
    "mono": cv2.COLOR_GRAY2RGB,
    "bgr": cv2.COLOR_BGR2RGB,
    "rgba": cv2.COLOR_RGBA2RGB,
    "bgra": cv2.COLOR_BGRA2RGB,
    "bayer_rggb": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "nv21": cv2.COLOR_YUV2RGB_NV21,
}
# OpenCV's own type names say nothing about colour; its order is BGR.
_UNNAMED_COLOR = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8"}


def image_view(message: Image) -> NDArray[Any]:
    """The pixels of a message as a view of its memory; nothing is copied.

    Returns:
        [h,w] or [h,w,channels], in the encoding, order and byte order of the message; for nv21
        [h * 3 / 2, w].

    Raises:
        MessageError: unknown encoding, no pixels, or step or data of another length than those ask.
    """
    layout = _layout(message.encoding)
    dtype = np.dtype(layout.dtype).newbyteorder(">" if message.is_bigendian else "<")
    row_bytes = message.width * layout.channels * dtype.itemsize
    rows = int(message.height * layout.rows_per_row)
    _check_size(message, row_bytes, rows)
    shape = (rows, message.width, layout.channels)
    strides = (message.step, layout.channels * dtype.itemsize, dtype.itemsize)
    pixels: NDArray[Any] = np.ndarray(shape, dtype, memoryview(message.data), strides=strides)
    return pixels[..., 0] if layout.channels == 1 else pixels


def to_rgb(message: Image) -> NDArray[np.uint8]:
    """A camera image uint8 [h,w,3] RGB; for rgb8 a view of the message's memory.

    16-bit encodings keep their high byte. 8UC3 is read as BGR, OpenCV's order.

    Raises:
        MessageError: as `image_view`, or the encoding holds no picture, e.g. 32FC1.
    """
    pixels = image_view(message)
    encoding = _UNNAMED_COLOR.get(message.encoding, message.encoding)
    if encoding in _BAYER or encoding in _YUV:
        return _exotic_to_rgb(message, pixels)
    if encoding not in _MONO and encoding not in _COLOR:
        raise MessageError(
            f"encoding {encoding!r} holds no picture: subscribe to a camera's colour image, "
            "e.g. remap image:=/camera/color/image_raw"
        )
    if pixels.dtype.itemsize == 2:
        pixels = (pixels >> 8).astype(np.uint8)
    code = _TO_RGB.get(encoding.rstrip(_DIGITS))
    return pixels if code is None else _convert(pixels, code, message.encoding)


def decode_compressed(message: CompressedImage) -> NDArray[np.uint8]:
    """A JPEG or PNG camera image uint8 [h,w,3] RGB.

    Raises:
        MessageError: truncated, or neither JPEG nor PNG.
    """
    data = bytes(message.data)
    _check_complete(data, message.format)
    # Turned as EXIF asks, the mask would no longer lie on the image that others receive.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise MessageError(f"compressed image of format {message.format!r}: {error}") from None
    if pixels is None:
        raise MessageError(
            f"compressed image of format {message.format!r} cannot be decoded "
            f"({len(data)} bytes): the data is damaged, check the publisher"
        )
    return _convert(pixels, cv2.COLOR_BGR2RGB, "bgr8")


def to_label_map(message: Image) -> NDArray[np.uint8]:
    """A map of class ids uint8 [h,w], a view of the message's memory; 255 = unknown.

    Raises:
        MessageError: as `image_view`, or not one byte per pixel.
    """
    if message.encoding not in ("mono8", "8UC1"):
        raise MessageError(
            f"a label map has the encoding mono8, this one has {message.encoding!r}: publish "
            "class ids, one byte per pixel, 255 = unknown"
        )
    labels: NDArray[np.uint8] = image_view(message)
    return labels


def from_array(pixels: NDArray[np.uint8], encoding: str, header: Header) -> Image:
    """An image message of uint8 [h,w] or [h,w,channels], with the given header as it is."""
    message = Image()
    message.header = header
    message.height, message.width = pixels.shape[:2]
    message.encoding = encoding
    message.step = pixels.nbytes // message.height
    message.data = _byte_array(pixels)
    return message


def to_jpeg(pixels: NDArray[np.uint8], header: Header) -> CompressedImage:
    """A JPEG message of uint8 [h,w,3] RGB, with the given header as it is."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    message = CompressedImage()
    message.header = header
    message.format = "rgb8; jpeg compressed bgr8"
    message.data = _byte_array(encoded)
    return message


def label_info(classes: Sequence[ClassInfo], header: Header) -> Any:
    """The names of the classes, a `LABEL_INFO_TYPE`.

    As String it is JSON with the fields of vision_msgs/LabelInfo, and the colours (RGB).
    """
    if LabelInfo is None:
        return String(data=classes_to_json(classes))
    names = [VisionClass(class_id=info.id, class_name=info.name) for info in classes]
    return LabelInfo(header=header, class_map=names)


def stamp_ns(header: Header) -> int:
    """The stamp of a header in nanoseconds."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def _layout(encoding: str) -> PixelLayout:
    known = _LAYOUTS.get(encoding)
    if known is not None:
        return known
    match = _OPENCV_TYPE.fullmatch(encoding)
    if match is None:
        raise MessageError(
            f"unknown encoding {encoding!r}: publish one of {', '.join(_LAYOUTS)} or one of "
            "OpenCV's types such as 8UC3"
        )
    bits, kind = int(match[1][:-1]), match[1][-1]
    return PixelLayout(f"{kind.lower().replace('s', 'i')}{bits // 8}", int(match[2] or 1))


def _check_size(message: Image, row_bytes: int, rows: int) -> None:
    if not message.width or not message.height:
        raise MessageError(
            f"image of {message.width}x{message.height} pixels: check that the camera is streaming"
        )
    if message.step < row_bytes:
        raise MessageError(
            f"step is {message.step}, but a row of {message.width} {message.encoding} pixels has "
            f"{row_bytes} bytes: set step to the bytes from one row to the next"
        )
    if len(message.data) != message.step * rows:
        raise MessageError(
            f"data has {len(message.data)} bytes, but {rows} rows of step {message.step} have "
            f"{message.step * rows}: the publisher cut it or set another height or step"
        )


def _check_complete(data: bytes, name: str) -> None:
    """Decoders fill up truncated images with grey and say nothing, hence this check."""
    if data.startswith(b"\xff\xd8"):
        # In the data after "start of scan" (FFDA), FF is always escaped, so that FFD9 is the end.
        complete = data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
    elif data.startswith(b"\x89PNG"):
        complete = b"IEND" in data[-32:]
    else:
        raise MessageError(
            f"compressed image of format {name!r} is neither JPEG nor PNG ({len(data)} bytes): "
            "publish one of those, or uncompressed images on the topic image"
        )
    if not complete:
        raise MessageError(
            f"compressed image of format {name!r} is truncated after {len(data)} bytes: "
            "check the network and the publisher's buffer"
        )


def _exotic_to_rgb(message: Image, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Bayer and YUV, by cv_bridge where that is installed, else by OpenCV."""
    bridge = _cv_bridge()
    if bridge is not None:
        return bridge(message)
    name = message.encoding
    code = _TO_RGB[name.rstrip(_DIGITS) if name in _BAYER else name]
    rgb = _convert(pixels, code, name)
    return rgb if rgb.itemsize == 1 else (rgb >> 8).astype(np.uint8)


@functools.cache
def _cv_bridge() -> Callable[[Image], NDArray[np.uint8]] | None:
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except ImportError:
        return None
    bridge = CvBridge()

    def convert(message: Image) -> NDArray[np.uint8]:
        try:
            pixels: NDArray[np.uint8] = bridge.imgmsg_to_cv2(message, "rgb8")
        except CvBridgeError as error:
            raise MessageError(f"cv_bridge cannot read {message.encoding!r}: {error}") from None
        return pixels

    return convert


def _convert(pixels: NDArray[Any], code: int, encoding: str) -> NDArray[Any]:
    # OpenCV only knows the machine's own byte order.
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    try:
        return np.asarray(cv2.cvtColor(native, code))
    except cv2.error as error:
        height, width = pixels.shape[:2]
        raise MessageError(
            f"{encoding} of {width}x{height} pixels cannot be converted: use an even width and "
            f"height, or another encoding ({error})"
        ) from None


def _byte_array(pixels: NDArray[np.uint8]) -> array.array[int]:
    """What rclpy takes without looking at each byte (which costs 100 ms per megabyte)."""
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    return data
