// What every processor of the architecture runs (SSE2, NEON).
#include <cmath>
#include <cstring>

#include "kernels.h"

#define SEGF_ISA baseline
#include "kernels.inl"

namespace segf {
const Kernels kBaseline = baseline::table("baseline");
}
