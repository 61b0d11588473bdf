"""TensorRT plugins for the custom operators of a bundle, and the launcher of its kernels.

`kernels` and `launcher` need a driver only; `plugin` needs TensorRT's Python package as well.
docs/plugins.md tells how to write the next one.
"""
