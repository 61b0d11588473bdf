"""The model card that travels with every bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from seg_perception.runtime.bundle import Quantisation

CORRECTABLE = """
It can be corrected while driving: evidence from lanes, depth or maps is fitted by an optimisable
code inside the model.
"""

CAMVID = "camvid"
CAMVID_SCORES = """
CamVid's val split shares a drive with half of the training frames, so its scores flatter; the
figures under `leave_one_drive_out` come from models that never saw the scored drive.
"""
CAMVID_LIMITS = """
It was trained on a few hundred daylight and dusk frames of one English city; rare classes (pole,
sign, fence, pedestrian, bicyclist) are found far less surely than road or sky.
"""


def model_card(
    name: str,
    data: Sequence[Mapping[str, str]],
    scores: Mapping[str, Any],
    commit: str,
    quantisation: Quantisation | None = None,
    *,
    correctable: bool,
) -> str:
    """Markdown: what the model is for, what it was trained on (and the terms), what it scores.

    Args:
        name: of the model.
        data: name and terms of each dataset.
        scores: measured scores, nested; shown as they are.
        commit: of the code that made it.
        quantisation: how it was rounded, if it was.
        correctable: whether it has a code, so that it takes evidence.
    """
    of_camvid = any(entry["name"] == CAMVID for entry in data)
    sources = "\n".join(f"- **{entry['name']}**: {entry['terms']}" for entry in data)
    return f"""# {name}

Semantic segmentation. Made by `training.export` at commit `{commit}`; the recipe, its seed and
every setting stand in `manifest.json` under `provenance`.
{CORRECTABLE if correctable else ""}
## Trained on
{sources}

The weights derive from this data; its terms bind their use.

## Scores (percent)
```json
{json.dumps(scores, indent=2)}
```
{CAMVID_SCORES if of_camvid else ""}{_rounding(quantisation)}
## Not for
Driving without supervision. Its confidence is not calibrated.
{CAMVID_LIMITS if of_camvid else ""}"""


def _rounding(quantisation: Quantisation | None) -> str:
    if quantisation is None:
        return ""
    return f"""
## Rounded to eight bits ({quantisation.precision})
The convolutions inside the unary network.

- calibrated on: {_facts(quantisation.calibration)}
- what that costs without evidence, percent: {_facts(quantisation.loss)}

The scores above are those of the model before, unless they were measured on this bundle.
"""


def _facts(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
