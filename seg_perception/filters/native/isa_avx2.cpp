// Headers first: nothing of the standard library may be compiled for avx2, since the linker keeps
// one copy of it for all.
#include <cmath>
#include <cstring>

#include "kernels.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#define SEGF_ISA avx2
#include "kernels.inl"

#if defined(__clang__)
#pragma clang attribute pop
#endif

namespace segf {
extern const Kernels kAvx2 = avx2::table("avx2");
}
#endif
