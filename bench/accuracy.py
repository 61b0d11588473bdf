r"""Accuracy of a bundle on CamVid with and without partial truth, on val and on drives left out.

``python bench/accuracy.py BUNDLE --root DIR`` scores val. With ``--drive 0001TP`` the training
frames of one drive are scored, for a bundle that was trained without it:

    python -m training.train RECIPE --root DIR --leave-out 0001TP
    python -m training.export RECIPE --out BUNDLE \
        --checkpoint runs/RECIPE-without-0001TP/code/best.pt
    python bench/accuracy.py BUNDLE --root DIR --drive 0001TP
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from seg_perception.classes import CAMVID_CLASSES, class_ids
from seg_perception.datasets import open_dataset
from seg_perception.evaluation.evaluate import EvidenceCase, evaluate
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import open_runner

KINDS = (
    ("ego_lane", ("road",)),
    ("partial:0.1", ("road", "sidewalk", "building")),
    ("points:0.01", ()),
    ("sets:0.05", ()),
    ("positive", ("road", "sidewalk", "building")),
)


def cases() -> list[EvidenceCase]:
    """Every kind of evidence that is claimed to help, by a name of its own."""
    found = []
    for kind, names in KINDS:
        for name in names or ("",):
            given = class_ids(CAMVID_CLASSES, [name] if name else [])
            one = given[0] if name and kind != "ego_lane" else None
            found.append(EvidenceCase(f"{kind} {name}".strip(), kind, one, given))
    return found


def summary(record: dict[str, Any]) -> list[dict[str, Any]]:
    """What correction did outside the evidence, and what it adds to replacing."""
    rows = []
    for name, methods in record["evidence"].items():
        before, after = methods["zero_code"], methods["optimised"]
        wrong = 100 - before["outside_pixel_accuracy"]
        gained = after["outside_pixel_accuracy"] - before["outside_pixel_accuracy"]
        rows.append(
            {
                "evidence": name,
                "outside_errors_removed": 100 * gained / wrong,
                "outside_miou_gained": after["outside_miou"] - before["outside_miou"],
                "zero_code": before["pixel_accuracy"],
                "replaced": methods["replaced"]["pixel_accuracy"],
                "optimised_replaced": methods["optimised_replaced"]["pixel_accuracy"],
                "miou_replaced": methods["replaced"]["miou"],
                "miou_optimised_replaced": methods["optimised_replaced"]["miou"],
            }
        )
    return rows


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--root", type=Path, required=True, help="folder of CamVid")
    parser.add_argument("--drive", help="score this drive's frames of the train split")
    parser.add_argument("--limit", type=int, help="only so many frames")
    parser.add_argument("--json", type=Path, help="write the figures")
    options = parser.parse_args()
    drives = [options.drive] if options.drive else None
    split = "train" if options.drive else "val"
    dataset = open_dataset("camvid", options.root, split, drives=drives, frames=options.limit)
    runner = open_runner(load_bundle(options.bundle))
    with tqdm(total=len(dataset)) as bar:
        result = evaluate(runner, dataset, cases(), observe=lambda _: bar.update())
    runner.close()
    record = result.to_record()
    rows = summary(record)
    console = Console()
    console.print(
        f"{options.drive or 'val'}: mIoU {record['miou']:.2f}, "
        f"pixel accuracy {record['pixel_accuracy']:.2f} on {record['n_images']} images"
    )
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{v:.2f}" if isinstance(v, float) else v for v in row.values()))
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps({"summary": rows, **record}, indent=2))


if __name__ == "__main__":
    main()
