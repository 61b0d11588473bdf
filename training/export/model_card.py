"""The model card that travels with every bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from seg_perception.runtime.bundle import Quantisation


def model_card(
    name: str,
    data: Sequence[Mapping[str, str]],
    scores: Mapping[str, Any],
    commit: str,
    quantisation: Quantisation | None = None,
) -> str:
    """Markdown: what the model is for, what it was trained on (and the terms), what it scores.

    Args:
        name: of the model.
        data: name and terms of each dataset.
        scores: measured scores, nested; shown as they are.
        commit: of the code that made it.
        quantisation: how it was rounded, if it was.
    """
    sources = "\n".join(f"- **{entry['name']}**: {entry['terms']}" for entry in data)
    return f"""# {name}

Semantic segmentation of road scenes that can be corrected while driving: evidence from lanes, depth
or maps is fitted by an optimisable code inside the model. Made by `training.export` at commit
`{commit}`; the recipe, its seed and every setting stand in `manifest.json` under `provenance`.

## Trained on
{sources}

The weights derive from this data; its terms bind their use.

## Scores (percent)
```json
{json.dumps(scores, indent=2)}
```
CamVid's val split shares a drive with half of the training frames, so its scores flatter; the
figures under `leave_one_drive_out` come from models that never saw the scored drive.
{_rounding(quantisation)}
## Not for
Driving without supervision. It was trained on a few hundred daylight and dusk frames of one English
city; rare classes (pole, sign, fence, pedestrian, bicyclist) are found far less surely than road or
sky, and its confidence is not calibrated.
"""


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
