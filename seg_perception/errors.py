"""One error family per room. Every message says what was found and what to do about it."""

from __future__ import annotations


class SegPerceptionError(Exception):
    """Base of every error that this package raises on purpose."""


class BundleError(SegPerceptionError):
    """A model bundle is missing, corrupt, tampered with or of an unknown format."""


class RunnerError(SegPerceptionError):
    """A runtime cannot be opened, or was given inputs that the model does not take."""


class EvidenceError(SegPerceptionError):
    """Evidence is not a valid set-valued label map."""


class FilterError(SegPerceptionError):
    """A filter was given arrays or parameters that it does not take."""


class MessageError(SegPerceptionError):
    """A ROS message cannot be read as the array it claims to be."""


class BagError(SegPerceptionError):
    """A recorded drive cannot be read or written."""


class DatasetError(SegPerceptionError):
    """A dataset is missing or does not have the expected layout."""


class ReplayError(SegPerceptionError):
    """A drive cannot be replayed through the node."""


class ConfigError(SegPerceptionError):
    """A setting, name or option is not one of those there are."""
