"""The refiners' inner loops as GPU kernels in Triton: docs/kernels.md.

```
guided, message, lattice, mean_field, image   the kernels
sources      every kernel with its block sizes and argument types, for a number of classes
programs     the order of launches of each operator
launch       runs a program on torch tensors
filters      the linear filters with autograd, for training on a GPU
```
A kernel's arguments are its arrays, in the order in which data flows, then sizes; block sizes are
in capitals. Every access is masked: sizes need not be multiples of anything.
"""
