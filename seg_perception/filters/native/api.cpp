// The C interface that native.py binds with ctypes, which releases the GIL meanwhile. Handles are
// immutable once made: any number of threads may use one.
#include <cstring>
#include <new>

#include "guided.h"
#include "mean_field.h"
#include "pool.h"

#define SEGF_API extern "C" __attribute__((visibility("default")))

namespace segf {
namespace {

enum Status : int { kOk = 0, kNotFinite = 1, kTooFar = 2, kNoMemory = 3 };

const Kernels* selected = nullptr;

const Kernels& best_kernels() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")) {
    return kAvx512;
  }
  if (avx2) return kAvx2;
#endif
  return kBaseline;
}

// Runs `body`, which makes or does something, and turns what it throws into a status.
template <typename Body>
int guarded(Body body) {
  try {
    return body();
  } catch (const TooFar&) {
    return kTooFar;
  } catch (const std::exception&) {  // bad_alloc, or no more threads
    return kNoMemory;
  }
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& best = best_kernels();
  return selected ? *selected : best;
}

bool select_kernels(const char* name) {
  const Kernels* const known[] = {
      &kBaseline,
#if defined(__x86_64__)
      &kAvx2, &kAvx512,
#endif
  };
  const Kernels& best = best_kernels();
  for (const Kernels* one : known) {
    if (std::strcmp(one->name, name) == 0) {
      selected = one;
      return true;
    }
    if (one == &best) return false;  // what follows needs a newer processor
  }
  return false;
}

}  // namespace segf

using namespace segf;

// Of this interface: native.py refuses a library that was built from other sources than its own.
SEGF_API int segf_version() { return 2; }
SEGF_API int segf_threads() { return Pool::instance().size(); }
SEGF_API void segf_set_threads(int threads) { Pool::instance().resize(threads); }
SEGF_API int segf_limit_threads(int threads) { return Pool::limit(threads); }
SEGF_API const char* segf_instructions() { return kernels().name; }
SEGF_API int segf_select_instructions(const char* name) { return select_kernels(name); }

SEGF_API int segf_lattice_of_features(int height, int width, int dims, const float* features,
                                      const uint8_t* valid, int symmetric, Lattice** made) {
  return guarded([&] {
    *made = new Lattice({height, width, dims, features, nullptr, 1, 1}, valid, symmetric);
    return kOk;
  });
}

// `image` [height][width][3], null for a lattice over positions only.
SEGF_API int segf_lattice_of_image(int height, int width, const uint8_t* image, float sxy,
                                   float srgb, const uint8_t* valid, int symmetric,
                                   Lattice** made) {
  return guarded([&] {
    *made = new Lattice({height, width, image ? 5 : 2, nullptr, image, sxy, srgb}, valid, symmetric);
    return kOk;
  });
}

SEGF_API long segf_lattice_vertices(const Lattice* lattice) { return lattice->n_vertices() - 1; }

SEGF_API int segf_lattice_apply(const Lattice* lattice, const float* x, int channels,
                                int transposed, float* y) {
  return guarded([&] {
    lattice->apply(x, y, channels, transposed);
    return kOk;
  });
}

SEGF_API void segf_lattice_free(Lattice* lattice) { delete lattice; }

SEGF_API int segf_mean_field(const float* unary, int channels, const Lattice* const* lattices,
                             const float* weights, const float* const* matrices, int n_lattices,
                             const float* compatibility, int iterations, float* scores) {
  return guarded([&] {
    std::vector<Kernel> terms;
    for (int i = 0; i < n_lattices; ++i) terms.push_back({lattices[i], weights[i], matrices[i]});
    const bool finite = mean_field(unary, lattices[0]->n_pixels(), channels, terms.data(),
                                   n_lattices, compatibility, iterations, scores);
    return finite ? kOk : kNotFinite;
  });
}

SEGF_API int segf_box(int height, int width, int radius, const uint8_t* valid, Box** made) {
  return guarded([&] {
    *made = new Box(height, width, radius, valid);
    return kOk;
  });
}

SEGF_API int segf_box_apply(const Box* box, const float* x, int channels, int transposed,
                            float* y) {
  return guarded([&] {
    box->apply(x, y, channels, transposed);
    return kOk;
  });
}

SEGF_API void segf_box_free(Box* box) { delete box; }

SEGF_API int segf_guided(int height, int width, int radius, float eps, const float* guide,
                         const uint8_t* valid, Guided** made) {
  return guarded([&] {
    *made = new Guided(height, width, radius, eps, guide, valid);
    return kOk;
  });
}

SEGF_API int segf_guided_apply(const Guided* guided, const float* x, int channels, int transposed,
                               float* y) {
  return guarded([&] {
    guided->apply(x, y, channels, transposed);
    return kOk;
  });
}

SEGF_API int segf_guided_mean_field(const Guided* guided, const float* unary, int channels,
                                    float weight, const float* compatibility, int iterations,
                                    float* scores) {
  return guarded([&] {
    guided->mean_field(unary, channels, weight, compatibility, iterations, scores);
    return kOk;
  });
}

SEGF_API void segf_guided_free(Guided* guided) { delete guided; }
