"""What is particular to the layout of each of the smaller readers."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tiny_datasets import (
    HEIGHT,
    WIDTH,
    write_ade20k,
    write_birds,
    write_cityscapes,
    write_faces,
    write_lfw,
    write_original_camvid,
    write_palette_png,
    write_penn_fudan,
    write_picture,
    write_voc,
)

from seg_perception.classes import CAMVID_CLASSES
from seg_perception.datasets.ade20k import Ade20k
from seg_perception.datasets.camvid import CamVid, CamVid32, segnet_split
from seg_perception.datasets.catalogue import (
    ADE20K_CLASSES,
    CAMVID32_CLASSES,
    CITYSCAPES_CLASSES,
    VOC_CLASSES,
    voc_color,
)
from seg_perception.datasets.cityscapes import Cityscapes
from seg_perception.datasets.faces import Faces, Lfw
from seg_perception.datasets.foreground import Birds, PennFudan
from seg_perception.datasets.voc import Voc
from seg_perception.errors import DatasetError

DATA = os.environ.get("SEG_PERCEPTION_DATA", Path(__file__).parents[3] / "shared" / "data")
FACES = Path(DATA) / "faces"


def names(data: CamVid) -> list[str]:
    return [data[i].name for i in range(len(data))]


def test_class_lists_are_as_long_as_their_papers_say() -> None:
    lists = (CITYSCAPES_CLASSES, CAMVID32_CLASSES, VOC_CLASSES, ADE20K_CLASSES)
    assert [len(classes) for classes in lists] == [19, 31, 21, 150]
    assert [ADE20K_CLASSES[i].name for i in (0, 12, 149)] == ["wall", "person", "flag"]


def test_voc_palette_is_that_of_the_development_kit() -> None:
    assert [voc_color(i) for i in (0, 1, 8, 15, 20, 255)] == [
        (0, 0, 0),
        (128, 0, 0),
        (64, 0, 0),
        (192, 128, 128),
        (0, 64, 128),
        (224, 224, 192),
    ]


def test_original_camvid_has_the_splits_of_segnet(tmp_path: Path) -> None:
    root = write_original_camvid(tmp_path)
    assert names(CamVid(root, "train")) == ["0001TP_006690"]
    assert names(CamVid(root, "val")) == ["0016E5_07959"]
    assert names(CamVid(root, "test")) == ["0001TP_008550", "Seq05VD_f00030"]


def test_segnet_split_counts_the_frames_of_the_release() -> None:
    released = [("0001TP", n) for n in range(6690, 10381, 30)]
    released += [("0006R0", n) for n in range(930, 3931, 30)]
    released += [("Seq05VD", n) for n in range(0, 5101, 30)]
    released += [("0016E5", n) for n in (*range(390, 871, 30), 901, *range(930, 2401, 30))]
    released += [("0016E5", n) for n in range(4350, 7921, 30)]
    released += [("0016E5", n) for n in range(7959, 8160, 2)]
    released += [("0016E5", n) for n in range(8190, 8641, 30)]
    counts = Counter(segnet_split(drive, frame) for drive, frame in released)
    assert counts == {"train": 367, "val": 101, "test": 233}


def test_original_colours_become_eleven_classes_or_thirty_one(tmp_path: Path) -> None:
    root = write_original_camvid(tmp_path)
    ids = {info.name: info.id for info in CAMVID_CLASSES}
    fine = {info.name: info.id for info in CAMVID32_CLASSES}
    eleven, thirty_one = CamVid(root, "val")[0].labels, CamVid32(root, "val")[0].labels
    assert eleven[0, 0] == thirty_one[0, 0] == 255
    assert [int(eleven[row, 5]) for row in (0, -3, -2, -1)] == [
        ids["sky"],
        ids["road"],
        ids["road"],
        ids["building"],
    ]
    assert [int(thirty_one[row, 5]) for row in (0, -3, -2, -1)] == [
        fine["Sky"],
        fine["Road"],
        fine["LaneMkgsDriv"],
        fine["Wall"],
    ]


def test_the_nearest_folder_tells_what_it_holds(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path, splits=["val"])
    with pytest.raises(DatasetError, match=r"no folder .*/train; .*leftImg8bit holds val\n"):
        Cityscapes(root, "train")
    shutil.rmtree(root / "gtFine")
    with pytest.raises(DatasetError, match=rf"gtFine/val/aachen; {root} holds camera, disp"):
        Cityscapes(root, "val")


def test_thirty_two_colours_need_the_original_labels(tmp_path: Path) -> None:
    write_faces(tmp_path)  # the layout of SegNet
    with pytest.raises(DatasetError, match=r"no folder .*LabeledApproved_full"):
        CamVid32(tmp_path, "train")


def test_a_stray_colour_is_void_and_many_are_refused(tmp_path: Path) -> None:
    root = write_original_camvid(tmp_path)
    path = root / "LabeledApproved_full" / "0016E5_07959_L.png"
    image = root / "701_StillsRaw_full" / "0016E5_07959.png"
    colors = np.full((40, 50, 3), (128, 128, 128), np.uint8)
    colors[3, 4] = (1, 2, 3)
    write_picture(path, colors)
    write_picture(image, colors)
    labels = CamVid(root, "val")[0].labels
    assert labels[3, 4] == 255
    assert (labels == 255).sum() == 1
    colors[:20] = (1, 2, 3)
    write_picture(path, colors)
    with pytest.raises(DatasetError, match=r"1000 of 2000 pixels .* \(1, 2, 3\).*lossless"):
        CamVid(root, "val")[0]


def test_voc_reads_palette_and_plain_ids_of_any_size(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    val = Voc(root, "val")
    assert val[0].labels.shape != val[1].labels.shape
    assert {*np.unique(val[0].labels)} == {0, 2, 255}
    added = Voc(root, "trainaug")[1]
    assert added.name == "2008_000003"
    assert {*np.unique(added.labels)} == {0, 4, 255}


def test_voc_lists_are_its_splits(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    with pytest.raises(DatasetError, match="train, trainaug, val"):
        Voc(root, "test")


def test_an_id_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    folder = root / "VOCdevkit/VOC2012"
    labels = np.full(Voc(root, "trainaug")[1].labels.shape, 21, np.uint8)
    write_picture(folder / "SegmentationClassAug/2008_000003.png", labels)
    with pytest.raises(DatasetError, match="holds class 21, but PASCAL VOC 2012 has 21 classes"):
        Voc(root, "trainaug")[1]


def test_palette_png_is_read_as_its_colours_not_as_grey(tmp_path: Path) -> None:
    """OpenCV turns an indexed PNG into colours: grey ones must come back as the same ids."""
    path = tmp_path / "VOC2012" / "grey.png"
    palette = np.zeros((256, 3), np.uint8)
    palette[:21] = [info.color for info in VOC_CLASSES]
    ids = np.full((4, 5), 7, np.uint8)  # car is (128, 128, 128)
    write_palette_png(path, ids, palette)
    np.testing.assert_array_equal(Voc(write_voc(tmp_path), "val").read_labels(path), ids)


def test_other_is_void_in_ade20k(tmp_path: Path) -> None:
    labels = Ade20k(write_ade20k(tmp_path), "train")[0].labels
    assert {*np.unique(labels)} == {2, 149, 255}
    with pytest.raises(DatasetError, match="choose one of train, val"):
        Ade20k(tmp_path, "test")


def test_views_of_faces_are_drives(tmp_path: Path) -> None:
    data = Faces(write_faces(tmp_path), "val")
    assert data.drives == ("frontal", "pose+15")
    assert {*np.unique(data[0].labels)} == {0, 1, 2}


@pytest.mark.data
@pytest.mark.skipif(not FACES.is_dir(), reason=f"no faces at {FACES} (see SEG_PERCEPTION_DATA)")
def test_real_faces_have_their_sizes_and_views() -> None:
    train, val = Faces(FACES, "train"), Faces(FACES, "val")
    assert (len(train), len(val)) == (202, 50)
    assert {"frontal", "pose0", "pose-90"} < set(train.drives)
    assert val[0].image.shape == (256, 256, 3)
    assert {*np.unique(val[0].labels)} == {0, 1, 2}


def test_lfw_reads_colours_and_superpixels(tmp_path: Path) -> None:
    sample = Lfw(write_lfw(tmp_path), "val")[0]
    assert sample.name == "Abel_Pacheco_0004"
    assert [int(sample.labels[row, 5]) for row in (0, -1)] == [1, 2]
    assert sample.superpixels.shape == (HEIGHT, WIDTH)
    assert {*np.unique(sample.superpixels)} == {*range(16)}


def test_lfw_without_superpixels_has_none(tmp_path: Path) -> None:
    root = write_lfw(tmp_path)
    (path,) = root.glob("parts_lfw_funneled_superpixels_mat/Abel_Pacheco/*.dat")
    path.write_text("1 2\n3")
    with pytest.raises(DatasetError, match="no matrix of whole numbers"):
        Lfw(root, "val")[0]
    path.unlink()
    assert Lfw(root, "val")[0].superpixels is None


def test_lfw_refuses_a_spoilt_list(tmp_path: Path) -> None:
    root = write_lfw(tmp_path)
    (root / "parts_validation.txt").write_text("Abel_Pacheco\n")
    with pytest.raises(DatasetError, match="'Abel_Pacheco' is no line NAME NUMBER"):
        Lfw(root, "val")


def test_birds_are_where_most_say_so(tmp_path: Path) -> None:
    root = write_birds(tmp_path)
    sample = Birds(root, "train")[0]
    assert sample.drive == "001.Black_footed_Albatross"
    np.testing.assert_array_equal(sample.labels.any(axis=1), np.arange(HEIGHT) >= HEIGHT // 2)
    splits = [[Birds(root, split)[0].name] for split in ("train", "val", "test")]
    assert [name for (name,) in splits] == [
        "Black_footed_Albatross_0001_1",
        "Laysan_Albatross_0010_1",
        "Laysan_Albatross_0011_1",
    ]


def test_birds_refuse_a_spoilt_table(tmp_path: Path) -> None:
    root = write_birds(tmp_path)
    (root / "CUB_200_2011" / "images.txt").write_text("one two three\n")
    with pytest.raises(DatasetError, match=r"images.txt is not a table of NUMBER VALUE"):
        Birds(root, "val")


def test_all_pedestrians_are_one_class_and_the_splits_share_no_image(tmp_path: Path) -> None:
    root = write_penn_fudan(tmp_path)
    found = [names(PennFudan(root, split)) for split in ("train", "val", "test")]
    assert [len(part) for part in found] == [3, 1, 1]
    assert len({name for part in found for name in part}) == 5
    assert PennFudan(root, "val").drives == ("Penn",)
    assert {*np.unique(PennFudan(root, "val")[0].labels)} == {0, 1}
