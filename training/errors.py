"""The one error of training that is whoever gives the command's to mend."""

from __future__ import annotations


class TrainingError(ValueError):
    """Settings, weights and data do not fit together; the message says what was found and the fix.

    The commands end with its message alone; any other exception is a bug and keeps its traceback.
    """
