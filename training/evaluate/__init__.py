"""The papers' tables with our rows beside the published ones: ``python -m training.evaluate``."""
