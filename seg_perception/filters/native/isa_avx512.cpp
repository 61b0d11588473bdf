// Headers first: nothing of the standard library may be compiled for avx512, since the linker keeps
// one copy of it for all.
#include <cmath>
#include <cstring>

#include "kernels.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512vl,avx512dq,avx512bw"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,avx512f,avx512vl,avx512dq,avx512bw")
#endif

#define SEGF_WIDE
#define SEGF_ISA avx512
#include "kernels.inl"

#if defined(__clang__)
#pragma clang attribute pop
#endif

namespace segf {
extern const Kernels kAvx512 = avx512::table("avx512");
}
#endif
