// Compiled once for every instruction set, in a namespace of its own (isa_*.cpp). Vectors are the
// compilers' own, so that one text serves SSE2, AVX2, AVX-512 and NEON. Nothing here may come from
// the standard library but memcpy and plain mathematics.

namespace segf {
namespace SEGF_ISA {

#define SEGF_INLINE static inline __attribute__((always_inline))

typedef float Vec __attribute__((vector_size(4 * kBlock), aligned(4), may_alias));
typedef int32_t VecInt __attribute__((vector_size(4 * kBlock)));
typedef float Lanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t LanesInt __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

#if defined(__clang__)
#define SEGF_SHUFFLE(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#else
#define SEGF_SHUFFLE(v, ...) __builtin_shuffle(v, VecInt{__VA_ARGS__})
#endif

SEGF_INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }

SEGF_INLINE float sum_of(Vec v) {
  v += SEGF_SHUFFLE(v, 4, 5, 6, 7, 0, 1, 2, 3);
  v += SEGF_SHUFFLE(v, 2, 3, 0, 1, 6, 7, 4, 5);
  return v[0] + v[1];
}

SEGF_INLINE float largest_of(Vec v) {
  v = larger(v, SEGF_SHUFFLE(v, 4, 5, 6, 7, 0, 1, 2, 3));
  v = larger(v, SEGF_SHUFFLE(v, 2, 3, 0, 1, 6, 7, 4, 5));
  return v[0] > v[1] ? v[0] : v[1];
}

// exp for arguments <= 0, to about 2 units in the last place; exactly 0 below -87.
SEGF_INLINE Vec exp_of(Vec x) {
  const Vec clamped = larger(x, Vec{} - 87.0f);
  const Vec round = Vec{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Vec shifted = clamped * 1.44269504f + round;
  const Vec n = shifted - round;
  const Vec r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const VecInt power = ((VecInt)shifted - (VecInt)round + 127) << 23;
  return x < -87.0f ? Vec{} : p * (Vec)power;
}

// ---- lattice: where points lie -------------------------------------------------------------------

template <int D>
static void simplices_of(const float* features, Simplices* out) {
  constexpr int A = D + 1;
  Lanes elevated[A], rest[A];
  LanesInt quotient[A], rank[A];
  Lanes tail = {};
  for (int j = D; j > 0; --j) {
    // The diagonal scaling of page 5, for unit variance.
    const float spread = 0.816496581f * A / __builtin_sqrtf(float(j * (j + 1)));
    Lanes f;
    __builtin_memcpy(&f, features + (j - 1) * kLanes, sizeof f);
    f *= spread;
    elevated[j] = tail - f * float(j);
    tail += f;
  }
  elevated[0] = tail;
  LanesInt excess = {};
  for (int i = 0; i < A; ++i) {
    const Lanes round = Lanes{} + 12582912.0f;
    const Lanes nearest = (elevated[i] * (1.0f / A) + round) - round;
    quotient[i] = __builtin_convertvector(nearest, LanesInt);
    rest[i] = elevated[i] - nearest * float(A);
    excess += quotient[i];
    rank[i] = LanesInt{};
  }
  for (int i = 0; i < D; ++i) {
    for (int j = i + 1; j < A; ++j) {
      const LanesInt less = rest[i] < rest[j];  // -1 where true
      rank[i] -= less;
      rank[j] += 1 + less;
    }
  }
  for (int i = 0; i < A; ++i) {
    rank[i] += excess;
    const LanesInt wrap = (LanesInt)(rank[i] >= A) - (LanesInt)(rank[i] < 0);
    rank[i] += wrap * A;
    quotient[i] += wrap;
    __builtin_memcpy(out->quotient[i], &quotient[i], sizeof quotient[i]);
    __builtin_memcpy(out->rank[i], &rank[i], sizeof rank[i]);
  }
  Lanes sorted[A] = {};
  for (int i = 0; i < A; ++i) {
    const Lanes offset =
        elevated[i] * (1.0f / A) - __builtin_convertvector(quotient[i], Lanes);
    for (int p = 0; p < A; ++p) sorted[p] += rank[i] == p ? offset : Lanes{};
  }
  for (int r = 0; r < A; ++r) {
    const Lanes w = r ? sorted[D - r] - sorted[A - r] : 1.0f + sorted[D] - sorted[0];
    __builtin_memcpy(out->weight[r], &w, sizeof w);
  }
}

static void simplices(const float* features, int dims, Simplices* out) {
  switch (dims) {
    case 1: return simplices_of<1>(features, out);
    case 2: return simplices_of<2>(features, out);
    case 3: return simplices_of<3>(features, out);
    case 4: return simplices_of<4>(features, out);
    case 5: return simplices_of<5>(features, out);
    default: return simplices_of<6>(features, out);
  }
}

// ---- rows ----------------------------------------------------------------------------------------

constexpr int kStrip = 32;  // pixels that are transposed at once, few enough for the first cache

static bool to_rows(const float* planar, long n_pixels, long first, long last, int channels,
                    float padding, const float* before, float* rows) {
  const int width = blocks_of(channels) * kBlock;
  float not_finite = 0.0f;  // x * 0 is NaN for infinities and NaN
  for (long start = first; start < last; start += kStrip) {
    const int n = last - start < kStrip ? int(last - start) : kStrip;
    float* row = rows + start * width;
    for (int c = 0; c < channels; ++c) {
      const float* from = planar + c * n_pixels + start;
      for (int i = 0; i < n; ++i) row[long(i) * width + c] = before ? from[i] * before[start + i] : from[i];
      float check[4] = {};
      for (int i = 0; i < n; ++i) check[i % 4] += from[i] * 0.0f;
      not_finite += check[0] + check[1] + check[2] + check[3];
    }
    for (int i = 0; i < n; ++i) {
      for (int c = channels; c < width; ++c) row[long(i) * width + c] = padding;
    }
  }
  return not_finite == 0.0f;
}

// NB blocks of channels known when compiled, or 0: as many as `blocks` says.
template <int NB>
struct Row {
  Vec v[NB ? NB : kMaxBlocks];
};

template <int NB>
SEGF_INLINE void gather(const Points& points, long pixel, int blocks, const float* values,
                        Row<NB>& row) {
  const int nb = NB ? NB : blocks;
  const uint32_t* vertex = points.vertex + pixel * points.corners;
  const float* weight = points.weight + pixel * points.corners;
  for (int b = 0; b < nb; ++b) row.v[b] = Vec{};
  for (int k = 0; k < points.corners; ++k) {
    const Vec* from = (const Vec*)(values + long(vertex[k]) * nb * kBlock);
    for (int b = 0; b < nb; ++b) row.v[b] += weight[k] * from[b];
  }
}

template <int NB>
SEGF_INLINE void scatter(const Points& points, long pixel, int blocks, const Row<NB>& row,
                         float* sums) {
  const int nb = NB ? NB : blocks;
  const float before = points.before[pixel];
  if (before == 0.0f) return;
  const uint32_t* vertex = points.vertex + pixel * points.corners;
  const float* weight = points.weight + pixel * points.corners;
  for (int k = 0; k < points.corners; ++k) {
    Vec* to = (Vec*)(sums + long(vertex[k]) * nb * kBlock);
    const float share = weight[k] * before;
    for (int b = 0; b < nb; ++b) to[b] += share * row.v[b];
  }
}

template <int NB>
static void splat_of(const Points& points, long first, long last, int blocks, const float* rows,
                     float* sums) {
  const int nb = NB ? NB : blocks;
  for (long i = first; i < last; ++i) {
    Row<NB> row;
    const Vec* from = (const Vec*)(rows + (i - first) * nb * kBlock);
    for (int b = 0; b < nb; ++b) row.v[b] = from[b];
    scatter<NB>(points, i, blocks, row, sums);
  }
}

template <int NB>
static void slice_of(const Points& points, long first, long last, long n_pixels, int channels,
                     const float* values, float* planar) {
  for (long i = first; i < last; ++i) {
    Row<NB> row;
    gather<NB>(points, i, blocks_of(channels), values, row);
    const float after = points.after[i];
    for (int c = 0; c < channels; ++c) {
      planar[c * n_pixels + i] = row.v[c / kBlock][c % kBlock] * after;
    }
  }
}

template <int NB>
static void blur_of(const uint32_t* lower, const uint32_t* upper, long first, long last, int blocks,
                    const float* from, float* to) {
  const int nb = NB ? NB : blocks;
  for (long i = first; i < last; ++i) {
    const Vec* self = (const Vec*)(from + i * nb * kBlock);
    const Vec* below = (const Vec*)(from + long(lower[i]) * nb * kBlock);
    const Vec* above = (const Vec*)(from + long(upper[i]) * nb * kBlock);
    Vec* out = (Vec*)(to + i * nb * kBlock);
    for (int b = 0; b < nb; ++b) out[b] = self[b] + 0.5f * (below[b] + above[b]);
  }
}

// ---- mean field: slice -> compatibility -> softmax -> splat --------------------------------------

template <int NB>
SEGF_INLINE void add_message(const Pass& pass, const Row<NB>& message, Row<NB>& scores) {
  const int nb = NB ? NB : pass.blocks;
  if (!pass.compatibility) {
    for (int b = 0; b < nb; ++b) scores.v[b] += message.v[b];
    return;
  }
  for (int c = 0; c < pass.channels; ++c) {
    const Vec* column = (const Vec*)pass.compatibility + long(c) * nb;
    const float m = message.v[c / kBlock][c % kBlock];
    for (int b = 0; b < nb; ++b) scores.v[b] -= m * column[b];
  }
}

template <int NB>
SEGF_INLINE void softmax_row(int blocks, Row<NB>& row) {
  const int nb = NB ? NB : blocks;
  Vec top = row.v[0];
  for (int b = 1; b < nb; ++b) top = larger(top, row.v[b]);
  const float peak = largest_of(top);
  Vec total = {};
  for (int b = 0; b < nb; ++b) {
    row.v[b] = exp_of(row.v[b] - peak);
    total += row.v[b];
  }
  const float share = 1.0f / sum_of(total);
  for (int b = 0; b < nb; ++b) row.v[b] *= share;
}

template <int NB>
static void pass_of(const Pass& pass) {
  const int nb = NB ? NB : pass.blocks;
  for (long i = pass.first; i < pass.last; ++i) {
    Row<NB> scores, message, part;
    const Vec* unary = (const Vec*)(pass.unary + i * nb * kBlock);
    for (int b = 0; b < nb; ++b) scores.v[b] = unary[b];
    for (int b = 0; b < nb; ++b) message.v[b] = Vec{};
    for (int t = 0; t < pass.n_terms; ++t) {
      const Term& term = pass.terms[t];
      if (!term.values) continue;
      gather<NB>(term.points, i, nb, term.values, part);
      const float scale = term.scale * term.points.after[i];
      for (int b = 0; b < nb; ++b) message.v[b] += scale * part.v[b];
    }
    add_message<NB>(pass, message, scores);
    if (pass.scores) {
      for (int c = 0; c < pass.channels; ++c) {
        pass.scores[c * pass.n_pixels + i] = scores.v[c / kBlock][c % kBlock];
      }
      continue;
    }
    softmax_row<NB>(nb, scores);
    for (int t = 0; t < pass.n_terms; ++t) {
      scatter<NB>(pass.terms[t].points, i, nb, scores, pass.terms[t].sums);
    }
  }
}

#define SEGF_BY_BLOCKS(blocks, call) \
  switch (blocks) {                  \
    case 1: return call(1);          \
    case 2: return call(2);          \
    case 3: return call(3);          \
    case 4: return call(4);          \
    default: return call(0);         \
  }

static void splat(const Points& points, long first, long last, int blocks, const float* rows,
                  float* sums) {
#define SEGF_CALL(NB) splat_of<NB>(points, first, last, blocks, rows, sums)
  SEGF_BY_BLOCKS(blocks, SEGF_CALL)
#undef SEGF_CALL
}

static void slice(const Points& points, long first, long last, long n_pixels, int channels,
                  const float* values, float* planar) {
#define SEGF_CALL(NB) slice_of<NB>(points, first, last, n_pixels, channels, values, planar)
  SEGF_BY_BLOCKS(blocks_of(channels), SEGF_CALL)
#undef SEGF_CALL
}

static void blur(const uint32_t* lower, const uint32_t* upper, long first, long last, int blocks,
                 const float* from, float* to) {
#define SEGF_CALL(NB) blur_of<NB>(lower, upper, first, last, blocks, from, to)
  SEGF_BY_BLOCKS(blocks, SEGF_CALL)
#undef SEGF_CALL
}

static void pass(const Pass& p) {
#define SEGF_CALL(NB) pass_of<NB>(p)
  SEGF_BY_BLOCKS(p.blocks, SEGF_CALL)
#undef SEGF_CALL
}

// ---- box and guided filter, on planes ------------------------------------------------------------

// Sums over windows of one row: column sums in, window sums out. Doubling spans, so that any radius
// costs about 2 log2(radius) additions and nothing drifts.
SEGF_INLINE void window_row(float* __restrict padded, int width, int radius, float* __restrict sums) {
  const int length = 2 * radius + 1;
  int covered = 0;
  for (int span = 1;; span *= 2) {
    if (length & span) {
      const float* from = padded + covered;
      if (covered) for (int x = 0; x < width; ++x) sums[x] += from[x];
      else for (int x = 0; x < width; ++x) sums[x] = from[x];
      covered += span;
    }
    if (2 * span > length) return;
    // What later spans still read: everything up to width + length - covered.
    const int needed = width + length - span;
#pragma GCC ivdep
    for (int x = 0; x < needed; ++x) padded[x] += padded[x + span];
  }
}

// The column sums of one plane, sliding down the image.
struct Columns {
  float* sums;    // [width]
  float* padded;  // [width + 2 radius and room to double]
  int width, radius;
};

SEGF_INLINE void window_sums(const Columns& columns, float* row) {
  float* p = columns.padded;
  for (int x = 0; x < columns.radius; ++x) p[x] = 0.0f;
  __builtin_memcpy(p + columns.radius, columns.sums, sizeof(float) * columns.width);
  const int end = columns.width + 4 * columns.radius + 16;
  for (int x = columns.radius + columns.width; x < end; ++x) p[x] = 0.0f;
  window_row(p, columns.width, columns.radius, row);
}

// Adds sign * a * b * c of one row to the column sums; null factors are left out.
SEGF_INLINE void slide(float* __restrict sums, int width, float sign, const float* a, const float* b,
                       const float* c) {
  if (c) for (int x = 0; x < width; ++x) sums[x] += sign * (a[x] * b[x]) * c[x];
  else if (b) for (int x = 0; x < width; ++x) sums[x] += sign * (a[x] * b[x]);
  else for (int x = 0; x < width; ++x) sums[x] += sign * a[x];
}

// Calls enter(row, +1) and enter(row, -1) as rows come into and leave the window, then emit(row).
template <typename Enter, typename Emit>
SEGF_INLINE void slide_down(int height, int radius, Enter enter, Emit emit) {
  for (int y = 0; y < height && y < radius; ++y) enter(y, 1.0f);
  for (int y = 0; y < height; ++y) {
    if (y + radius < height) enter(y + radius, 1.0f);
    if (y - radius - 1 >= 0) enter(y - radius - 1, -1.0f);
    emit(y);
  }
}

constexpr int kMaxPlanes = 9;

// `n` sliding columns and `n` rows of results, cut from `scratch`.
struct Sliding {
  Columns columns[kMaxPlanes];
  float* rows[kMaxPlanes];

  Sliding(int n, int width, int radius, float* scratch) {
    float* padded = scratch;
    scratch += width + 4L * radius + 64;
    for (int k = 0; k < n; ++k, scratch += 2L * width) {
      columns[k] = {scratch, padded, width, radius};
      rows[k] = scratch + width;
      for (int x = 0; x < width; ++x) scratch[x] = 0.0f;
    }
  }
};

static void box(int height, int width, int radius, const float* before, const float* after,
                const float* x, float* y, float* scratch) {
  Sliding s(1, width, radius, scratch);
  slide_down(
      height, radius,
      [&](int row, float sign) {
        const long at = long(row) * width;
        slide(s.columns[0].sums, width, sign, x + at, before + at, nullptr);
      },
      [&](int row) {
        const long at = long(row) * width;
        window_sums(s.columns[0], s.rows[0]);
        for (int i = 0; i < width; ++i) y[at + i] = s.rows[0][i] * after[at + i];
      });
}

// In double, since variances are small differences of large numbers.
static void guided_statistics(int height, int width, int radius, float eps, const float* guide,
                              const float* before, const float* after, float* mean, float* inverse,
                              float* scratch) {
  const long n = long(height) * width;
  constexpr int kFirst[6] = {0, 0, 0, 1, 1, 2}, kSecond[6] = {0, 1, 2, 1, 2, 2};
  Sliding s(9, width, radius, scratch);
  slide_down(
      height, radius,
      [&](int row, float sign) {
        const float *g = guide + long(row) * width, *w = before + long(row) * width;
        for (int k = 0; k < 3; ++k) slide(s.columns[k].sums, width, sign, g + k * n, w, nullptr);
        for (int k = 0; k < 6; ++k) {
          slide(s.columns[3 + k].sums, width, sign, g + kFirst[k] * n, g + kSecond[k] * n, w);
        }
      },
      [&](int row) {
        const long at = long(row) * width;
        for (int k = 0; k < 9; ++k) window_sums(s.columns[k], s.rows[k]);
        for (int i = 0; i < width; ++i) {
          const double count = after[at + i] > 0.0f ? __builtin_rint(1.0 / after[at + i]) : 0.0;
          const double share = count > 0.0 ? 1.0 / count : 0.0;
          double m[3], c[6];
          for (int k = 0; k < 3; ++k) m[k] = s.rows[k][i] * share;
          for (int k = 0; k < 6; ++k) c[k] = s.rows[3 + k][i] * share - m[kFirst[k]] * m[kSecond[k]];
          const double rr = c[0] + eps, rg = c[1], rb = c[2], gg = c[3] + eps, gb = c[4],
                       bb = c[5] + eps;
          const double cofactors[6] = {gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg,
                                       rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg};
          const double scale = 1.0 / (rr * cofactors[0] + rg * cofactors[1] + rb * cofactors[2]);
          for (int k = 0; k < 3; ++k) mean[k * n + at + i] = float(m[k]);
          for (int k = 0; k < 6; ++k) inverse[k * n + at + i] = float(scale * cofactors[k]);
        }
      });
}

// The first half: window means of x and guide * x give the coefficients a (3) and b, times `before`.
SEGF_INLINE void guided_solve(const GuidedPlan& plan, const float* x, float* coefficients,
                              float* scratch) {
  const int width = plan.width;
  const long n = long(plan.height) * width;
  Sliding s(4, width, plan.radius, scratch);
  slide_down(
      plan.height, plan.radius,
      [&](int row, float sign) {
        const long at = long(row) * width;
        const float *in = x + at, *w = plan.before + at;
        const float *g0 = plan.guide + at, *g1 = g0 + n, *g2 = g1 + n;
        float *s0 = s.columns[0].sums, *s1 = s.columns[1].sums, *s2 = s.columns[2].sums,
              *s3 = s.columns[3].sums;
#pragma GCC ivdep
        for (int i = 0; i < width; ++i) {
          const float v = sign * (in[i] * w[i]);
          s0[i] += v;
          s1[i] += v * g0[i];
          s2[i] += v * g1[i];
          s3[i] += v * g2[i];
        }
      },
      [&](int row) {
        const long at = long(row) * width;
        for (int k = 0; k < 4; ++k) window_sums(s.columns[k], s.rows[k]);
        const float *r0 = s.rows[0], *r1 = s.rows[1], *r2 = s.rows[2], *r3 = s.rows[3];
        const float *m0 = plan.mean + at, *m1 = m0 + n, *m2 = m1 + n;
        const float *rr = plan.inverse + at, *rg = rr + n, *rb = rg + n, *gg = rb + n, *gb = gg + n,
                    *bb = gb + n;
        const float *share = plan.after + at, *w = plan.before + at;
        float *a0 = coefficients + at, *a1 = a0 + n, *a2 = a1 + n, *b = a2 + n;
#pragma GCC ivdep
        for (int i = 0; i < width; ++i) {
          const float p = r0[i] * share[i];
          const float c0 = r1[i] * share[i] - m0[i] * p;
          const float c1 = r2[i] * share[i] - m1[i] * p;
          const float c2 = r3[i] * share[i] - m2[i] * p;
          const float x0 = rr[i] * c0 + rg[i] * c1 + rb[i] * c2;
          const float x1 = rg[i] * c0 + gg[i] * c1 + gb[i] * c2;
          const float x2 = rb[i] * c0 + gb[i] * c1 + bb[i] * c2;
          a0[i] = w[i] * x0;
          a1[i] = w[i] * x1;
          a2[i] = w[i] * x2;
          b[i] = w[i] * (p - (m0[i] * x0 + m1[i] * x1 + m2[i] * x2));
        }
      });
}

// The second half: window means of the coefficients, times the guide.
SEGF_INLINE void guided_combine(const GuidedPlan& plan, const float* coefficients, float* y,
                                float* scratch) {
  const int width = plan.width;
  const long n = long(plan.height) * width;
  Sliding s(4, width, plan.radius, scratch);
  slide_down(
      plan.height, plan.radius,
      [&](int row, float sign) {
        const float* from = coefficients + long(row) * width;
        for (int k = 0; k < 4; ++k) {
          slide(s.columns[k].sums, width, sign, from + k * n, nullptr, nullptr);
        }
      },
      [&](int row) {
        const long at = long(row) * width;
        for (int k = 0; k < 4; ++k) window_sums(s.columns[k], s.rows[k]);
        const float *g0 = plan.guide + at, *g1 = g0 + n, *g2 = g1 + n, *share = plan.after + at;
        const float *r0 = s.rows[0], *r1 = s.rows[1], *r2 = s.rows[2], *r3 = s.rows[3];
        float* out = y + at;
#pragma GCC ivdep
        for (int i = 0; i < width; ++i) {
          out[i] = share[i] * (g0[i] * r0[i] + g1[i] * r1[i] + g2[i] * r2[i] + r3[i]);
        }
      });
}

static void guided(const GuidedPlan& plan, const float* x, float* y, float* scratch) {
  float* coefficients = scratch;
  float* rest = scratch + 4L * plan.height * plan.width;
  guided_solve(plan, x, coefficients, rest);
  guided_combine(plan, coefficients, y, rest);
}

SEGF_INLINE Vec load(const float* from, int n) {
  Vec v = {};
  if (n == kBlock) __builtin_memcpy(&v, from, sizeof v);
  else __builtin_memcpy(&v, from, sizeof(float) * n);
  return v;
}

SEGF_INLINE void store(float* to, Vec v, int n) {
  if (n == kBlock) __builtin_memcpy(to, &v, sizeof v);
  else __builtin_memcpy(to, &v, sizeof(float) * n);
}

static void softmax(const float* unary, const float* filtered, float weight, long n_pixels,
                    int channels, long first, long last, float* probs, float* scores) {
  for (long start = first; start < last; start += kBlock) {
    const int n = last - start < kBlock ? int(last - start) : kBlock;
    Vec peak = Vec{} + kNever, total = {};
    float* to = scores ? scores : probs;
    for (int c = 0; c < channels; ++c) {
      const long at = c * n_pixels + start;
      Vec s = load(unary + at, n);
      if (filtered) s += weight * load(filtered + at, n);
      peak = larger(peak, s);
      store(to + at, s, n);
    }
    if (scores) continue;
    for (int c = 0; c < channels; ++c) {
      const long at = c * n_pixels + start;
      const Vec e = exp_of(load(probs + at, n) - peak);
      total += e;
      store(probs + at, e, n);
    }
    const Vec share = 1.0f / total;
    for (int c = 0; c < channels; ++c) {
      const long at = c * n_pixels + start;
      store(probs + at, load(probs + at, n) * share, n);
    }
  }
}

constexpr Kernels table(const char* name) {
  return {name, simplices, to_rows, splat,  slice,             blur,
          pass, guided,    box,     guided_statistics, softmax};
}

}  // namespace SEGF_ISA
}  // namespace segf
