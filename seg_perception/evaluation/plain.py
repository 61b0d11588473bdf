"""Results as plain JSON values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seg_perception.errors import ConfigError
from seg_perception.timing import percentiles


def percentile_record(durations_ms: Sequence[float]) -> dict[str, float | None]:
    """Milliseconds as {"p50", "p90", "p99"}, each null where there are no durations."""
    if not durations_ms:
        return {"p50": None, "p90": None, "p99": None}
    found = percentiles(durations_ms)
    return {"p50": found.p50_ms, "p90": found.p90_ms, "p99": found.p99_ms}


def without_nan(record: Any) -> Any:
    """A copy of nested dicts and lists that JSON can hold: rounded to 4 digits, null for nan."""
    if isinstance(record, Mapping):
        return {key: without_nan(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [without_nan(value) for value in record]
    if isinstance(record, float):
        return round(record, 4) if math.isfinite(record) else None
    return record


def write_json(record: Mapping[str, Any], path: Path) -> None:
    """Write a record.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; choose another file") from error
