"""Small datasets on disk, in exactly the layouts that are downloaded.

Every image shows the colours of its classes, so that the tiny bundle can tell them apart. Each
writer returns the folder to give as root.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tiny_bundle import color_image

from seg_perception.classes import CAMVID_CLASSES, VOID, ClassInfo
from seg_perception.datasets.catalogue import (
    ADE20K_CLASSES,
    CAMVID_COLORS,
    CITYSCAPES_CLASSES,
    CITYSCAPES_LABEL_IDS,
    FACE_CLASSES,
    VOC_CLASSES,
)

HEIGHT, WIDTH = 24, 32
CITYSCAPES_CAMERA = {
    "extrinsic": {"baseline": 0.2, "pitch": 0.04, "roll": 0, "x": 1.7, "y": 0, "yaw": 0, "z": 1.2},
    "intrinsic": {"fx": 40.0, "fy": 41.0, "u0": 15.0, "v0": 11.0},
}


def halves(upper: int, lower: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Labels: one class above another, void in the first column."""
    labels = np.full((height, width), upper, np.uint8)
    labels[height // 2 :] = lower
    labels[:, 0] = VOID
    return labels


def shown(labels: NDArray[np.uint8], classes: Sequence[ClassInfo]) -> NDArray[np.uint8]:
    """The image of labels: void looks like class 0."""
    return color_image(np.where(labels == VOID, 0, labels), classes)


def write_picture(path: Path, picture: NDArray[np.generic]) -> None:
    """Write RGB or one channel by the path's suffix, its folder made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    turned = picture[..., ::-1] if picture.ndim == 3 else picture
    options = [cv2.IMWRITE_JPEG_QUALITY, 100] if path.suffix == ".jpg" else []
    assert cv2.imwrite(str(path), turned, options)


def write_palette_png(path: Path, ids: NDArray[np.uint8], palette: NDArray[np.uint8]) -> None:
    """Write ids uint8 [H,W] as an indexed PNG with palette uint8 [256,3], as VOC's labels are."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    height, width = ids.shape
    rows = b"".join(b"\0" + row.tobytes() for row in ids)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", palette.tobytes())
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def write_cityscapes(
    root: Path,
    height: int = HEIGHT,
    width: int = WIDTH,
    splits: Sequence[str] = ("train", "val", "test"),
) -> Path:
    """Two cities; aachen has two sequences, and a camera and disparities."""
    road, sky = CITYSCAPES_LABEL_IDS[0], CITYSCAPES_LABEL_IDS[10]
    labels = halves(10, 0, height, width)
    stored = np.select([labels == 10, labels == 0], [sky, road], 3).astype(np.uint8)
    for city, sequence, frame in (
        ("aachen", 0, 19),
        ("aachen", 0, 53),
        ("aachen", 1, 19),
        ("weimar", 0, 19),
    ):
        stem = f"{city}_{sequence:06d}_{frame:06d}"
        for split in splits:
            place = Path(split, city)
            image = root / "leftImg8bit" / place / f"{stem}_leftImg8bit.png"
            write_picture(image, shown(labels, CITYSCAPES_CLASSES))
            truth = root / "gtFine" / place / stem
            write_picture(truth.with_name(f"{stem}_gtFine_labelIds.png"), stored)
            write_picture(
                truth.with_name(f"{stem}_gtFine_color.png"), shown(labels, CITYSCAPES_CLASSES)
            )
    place = Path("val", "aachen")
    disparity = np.full((height, width), 1 + 256 * 4, np.uint16)
    disparity[0], disparity[1] = 0, 1
    write_picture(root / "disparity" / place / "aachen_000000_000019_disparity.png", disparity)
    camera = root / "camera" / place / "aachen_000000_000019_camera.json"
    camera.parent.mkdir(parents=True)
    camera.write_text(json.dumps(CITYSCAPES_CAMERA))
    return root


def write_original_camvid(root: Path) -> Path:
    """One frame of each split of SegNet, in the 32 colours."""
    names = list(CAMVID_COLORS)
    for stem in ("0001TP_006690", "0001TP_008550", "0016E5_07959", "Seq05VD_f00030"):
        ids = halves(names.index("Sky"), names.index("Road"))
        ids[-2], ids[-1] = names.index("LaneMkgsDriv"), names.index("Wall")
        ids[ids == VOID] = names.index("Void")
        colors = np.array([color for color, _ in CAMVID_COLORS.values()], np.uint8)[ids]
        seen = halves(0, 3)  # sky and road are painted alike in both lists of classes
        write_picture(root / "701_StillsRaw_full" / f"{stem}.png", shown(seen, CAMVID_CLASSES))
        write_picture(root / "LabeledApproved_full" / f"{stem}_L.png", colors)
    return root


def write_voc(root: Path) -> Path:
    """Images of different sizes; what is only in trainaug is labelled by SBD, as plain ids."""
    folder = root / "VOCdevkit" / "VOC2012"
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(VOC_CLASSES)] = [info.color for info in VOC_CLASSES]
    palette[VOID] = (224, 224, 192)
    lists = {"train": ["2007_000032"], "val": ["2007_000033", "2007_000042"]}
    lists["trainaug"] = ["2007_000032", "2008_000003"]
    for i, name in enumerate(sorted({name for names in lists.values() for name in names})):
        labels = halves(0, i + 1, HEIGHT + 2 * i, WIDTH + 4 * i)
        write_picture(folder / "JPEGImages" / f"{name}.jpg", shown(labels, VOC_CLASSES))
        if name.startswith("2008"):
            write_picture(folder / "SegmentationClassAug" / f"{name}.png", labels)
        else:
            write_palette_png(folder / "SegmentationClass" / f"{name}.png", labels, palette)
    for split, names in lists.items():
        path = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names))
    return root


def write_ade20k(root: Path) -> Path:
    """Images of different sizes; the lower half is the last of the 150 classes."""
    folder = root / "ADEChallengeData2016"
    for split, short in (("training", "train"), ("validation", "val")):
        for number in (1, 2):
            labels = halves(2, 149, HEIGHT, WIDTH * number)
            name = f"ADE_{short}_{number:08d}"
            write_picture(folder / "images" / split / f"{name}.jpg", shown(labels, ADE20K_CLASSES))
            stored = labels + np.uint8(1)  # void becomes 0
            write_picture(folder / "annotations" / split / f"{name}.png", stored)
    return root


def write_faces(root: Path) -> Path:
    """Two views of a head in each split."""
    for split in ("train", "val", "test"):
        for stem in ("frontal_1", "pose+15_personne01147+0+15"):
            labels = halves(1, 2)
            labels[:, 0] = 0
            write_picture(root / split / f"{stem}.jpg", shown(labels, FACE_CLASSES))
            write_picture(root / f"{split}annot" / f"{stem}.png", labels)
    return root


def write_lfw(root: Path) -> Path:
    """One person in each list; superpixels are 4 wide and half as high as the image."""
    people = {"train": "Aaron_Eckhart 1", "validation": "Abel_Pacheco 4", "test": "Zico 3"}
    for split, line in people.items():
        person, number = line.split()
        name = f"{person}_{int(number):04d}"
        labels = halves(1, 2)
        labels[:, 0] = 0
        picture = shown(labels, FACE_CLASSES)
        write_picture(root / "lfw_funneled" / person / f"{name}.jpg", picture)
        write_picture(root / "parts_lfw_funneled_gt_images" / f"{name}.ppm", picture)
        numbers = np.add.outer(8 * (np.arange(HEIGHT) >= HEIGHT // 2), np.arange(WIDTH) // 4)
        path = root / "parts_lfw_funneled_superpixels_mat" / person / f"{name}.dat"
        path.parent.mkdir(parents=True)
        np.savetxt(path, numbers, fmt="%d")
        (root / f"parts_{split}.txt").write_text(f"{line}\n")
    return root


def write_birds(root: Path) -> Path:
    """Two species; masks are votes, one of them with further channels."""
    folder, species = root / "CUB_200_2011", ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    rows = [(1, species[0], "1"), (10, species[1], "1"), (11, species[1], "0")]
    images, split = [], []
    for number, kind, training in rows:
        name = f"{kind.split('.')[1]}_{number:04d}_1"
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        votes = np.zeros((HEIGHT, WIDTH), np.uint8)
        image[HEIGHT // 2 :] = 255
        votes[HEIGHT // 2 :], votes[HEIGHT // 2 - 1] = 204, 102
        mask = votes if number == 1 else np.dstack([votes] * 3)
        write_picture(folder / "images" / kind / f"{name}.jpg", image)
        write_picture(root / "segmentations" / kind / f"{name}.png", mask)
        images.append(f"{number} {kind}/{name}.jpg\n")
        split.append(f"{number} {training}\n")
    (folder / "images.txt").write_text("".join(images))
    (folder / "train_test_split.txt").write_text("".join(split))
    return root


def write_penn_fudan(root: Path) -> Path:
    """Five images, two pedestrians in each."""
    folder = root / "PennFudanPed"
    names = ("FudanPed00001", "FudanPed00002", "FudanPed00003", "PennPed00001", "PennPed00002")
    for name in names:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[4:20, 4:10], mask[4:20, 20:26] = 1, 2
        image = np.repeat(255 * (mask[..., None] > 0).astype(np.uint8), 3, axis=2)
        write_picture(folder / "PNGImages" / f"{name}.png", image)
        write_picture(folder / "PedMasks" / f"{name}_mask.png", mask)
    return root


WRITERS: dict[str, Callable[[Path], Path]] = {
    "camvid": write_original_camvid,
    "camvid32": write_original_camvid,
    "cityscapes": write_cityscapes,
    "voc": write_voc,
    "ade20k": write_ade20k,
    "faces": write_faces,
    "lfw": write_lfw,
    "birds": write_birds,
    "penn_fudan": write_penn_fudan,
}
"""A writer for every dataset that is read from disk."""
