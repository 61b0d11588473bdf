"""Where the files are that come with the package."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from seg_perception.errors import ConfigError

PACKAGE = "seg_perception"
_SOURCE_TREE = Path(__file__).resolve().parents[2]


def share_path(relative: str) -> Path:
    """A file or folder of the package's share directory, e.g. "models/default".

    Looked for where ROS has installed the package, where pip has, and in the source tree.

    Raises:
        ConfigError: it is in none of them.
    """
    places = [_SOURCE_TREE, Path(sys.prefix, "share", PACKAGE)]
    # OSError: no AMENT_PREFIX_PATH, as with ROS 2 from wheels.
    with contextlib.suppress(PackageNotFoundError, OSError):
        places.insert(0, Path(get_package_share_directory(PACKAGE)))
    for place in places:
        if (place / relative).exists():
            return place / relative
    raise ConfigError(
        f"{relative} is in none of {', '.join(map(str, places))}: install the package again"
    )
