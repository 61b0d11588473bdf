"""The datasets by name. Light to import: a reader is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from seg_perception.errors import DatasetError

if TYPE_CHECKING:
    from seg_perception.datasets.pairs import PairedFiles

STREET = "street"


@dataclass(frozen=True)
class Entry:
    """One dataset.

    Attributes:
        reader: module and class below `seg_perception.datasets`; "" = rendered, not read.
        about: in a few words.
        terms: of its use, for the card of a model that was trained on it.
    """

    reader: str
    about: str
    terms: str


RESEARCH = "research only, see the terms of its makers"

DATASETS: Mapping[str, Entry] = MappingProxyType(
    {
        STREET: Entry(
            "", "rendered drives, CamVid's classes", "rendered by seg_perception, Apache-2.0"
        ),
        "camvid": Entry(
            "camvid:CamVid",
            "CamVid, 11 classes, SegNet's or the original layout",
            "CC BY-NC (Brostow et al. 2009): no commercial use",
        ),
        "camvid32": Entry(
            "camvid:CamVid32",
            "CamVid's original labels, 31 classes",
            "CC BY-NC (Brostow et al. 2009): no commercial use",
        ),
        "cityscapes": Entry(
            "cityscapes:Cityscapes",
            "Cityscapes, 19 classes, with camera and depth",
            "non-commercial, no redistribution (Cordts et al. 2016)",
        ),
        "voc": Entry("voc:Voc", "PASCAL VOC 2012, 21 classes", f"Flickr's terms; {RESEARCH}"),
        "ade20k": Entry(
            "ade20k:Ade20k",
            "ADE20K scene parsing, 150 classes",
            f"labels BSD-3-Clause; images: {RESEARCH}",
        ),
        "faces": Entry(
            "faces:Faces",
            "FASSEG in split folders: background, hair, skin",
            "no licence stated; asks for citation (Khan et al. 2015)",
        ),
        "lfw": Entry(
            "faces:Lfw", "part labels of Labeled Faces in the Wild, the same classes", RESEARCH
        ),
        "birds": Entry("foreground:Birds", "CUB-200-2011: background, bird", RESEARCH),
        "penn_fudan": Entry(
            "foreground:PennFudan", "PennFudanPed: background, pedestrian", RESEARCH
        ),
    }
)


def reader_of(name: str) -> type[PairedFiles]:
    """The reader of a recorded dataset.

    Raises:
        DatasetError: there is none of that name; the message lists those there are.
    """
    entry = DATASETS.get(name)
    if entry is None or not entry.reader:
        raise DatasetError(f"no dataset '{name}'; there are {', '.join(DATASETS)}")
    module, _, reader = entry.reader.partition(":")
    found: type[PairedFiles] = getattr(import_module(f"seg_perception.datasets.{module}"), reader)
    return found
