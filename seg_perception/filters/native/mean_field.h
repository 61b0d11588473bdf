// Mean field inference of a dense CRF (Kraehenbuehl and Koltun 2011) over any lattices.
#pragma once

#include "lattice.h"

namespace segf {

struct Kernel {
  const Lattice* lattice;
  float weight;
  const float* matrix;  // [channels][channels], in the place of mu weight; null = none
};

// Updates planes scores [channels][N] `iterations` times: s = u - mu sum_k weight_k K_k softmax(s).
// `compatibility` is mu [channels][channels], null = -I. False if a score is not finite.
bool mean_field(const float* unary, long n_pixels, int channels, const Kernel* terms, int n_terms,
                const float* compatibility, int iterations, float* scores);

}  // namespace segf
