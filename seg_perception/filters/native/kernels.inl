// Compiled once for every instruction set, in a namespace of its own (isa_*.cpp). Vectors are the
// compilers' own, so that one text serves SSE2, AVX2, AVX-512 and NEON. Nothing here may come from
// the standard library but memcpy and plain mathematics.

namespace segf {
namespace SEGF_ISA {

#define SEGF_INLINE static inline __attribute__((always_inline))
#define SEGF_INLINE_MEMBER inline __attribute__((always_inline))

// One block of channels, and two: AVX-512 takes two at a time where their number is even.
typedef float Vec __attribute__((vector_size(4 * kBlock), aligned(4), may_alias));
typedef int32_t VecInt __attribute__((vector_size(4 * kBlock), aligned(4), may_alias));
typedef float Lanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t LanesInt __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int64_t LanesLong __attribute__((vector_size(8 * kLanes), aligned(8), may_alias));
static_assert(kLanes == 2 * kBlock, "Lanes serve as two blocks, too");

struct Narrow {
  typedef Vec Float;
  typedef VecInt Int;
  static constexpr int kBlocks = 1;
};
struct Wide {
  typedef Lanes Float;
  typedef LanesInt Int;
  static constexpr int kBlocks = 2;
};
struct Single {
  typedef float Float;  // one channel alone
};

#if defined(__clang__)
#define SEGF_SHUFFLE(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#else
#define SEGF_SHUFFLE(v, ...) __builtin_shuffle(v, VecInt{__VA_ARGS__})
#endif

template <typename F>
SEGF_INLINE F larger(F a, F b) {
  return a > b ? a : b;
}

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

SEGF_INLINE float sum_of(Lanes v) {
  const Vec* halves = (const Vec*)&v;
  return sum_of(halves[0] + halves[1]);
}

SEGF_INLINE float largest_of(Lanes v) {
  const Vec* halves = (const Vec*)&v;
  return largest_of(larger(halves[0], halves[1]));
}

// exp for arguments <= 0, to about 2 units in the last place; exactly 0 below -87.
template <typename W>
SEGF_INLINE typename W::Float exp_of(typename W::Float x) {
  typedef typename W::Float F;
  typedef typename W::Int I;
  const F clamped = larger(x, F{} - 87.0f);
  const F round = F{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const F shifted = clamped * 1.44269504f + round;
  const F n = shifted - round;
  const F r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  F p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const I power = ((I)shifted - (I)round + 127) << 23;
  return x < -87.0f ? F{} : p * (F)power;
}

// ---- lattice: where points lie -------------------------------------------------------------------

// Vertex r of a simplex differs from vertex r - 1 by one step down in the coordinate of one rank.
template <int D>
SEGF_INLINE void name_vertices(const LanesInt* quotient, const LanesInt* rank, Simplices* out) {
  constexpr int A = D + 1, kBits = bits_of_key(D);
  constexpr int64_t kMiddle = int64_t(1) << (kBits - 1);
  constexpr int32_t kExact = 1 << 21;  // up to which rounding in float32 is exact
  constexpr int32_t kReach = int32_t(kMiddle < kExact ? kMiddle : kExact) - 2;
  LanesLong key = {};
  LanesInt order = {}, too_far = {};
  for (int i = 0; i < A; ++i) {
    too_far |= (quotient[i] < -kReach) | (quotient[i] > kReach);
    order = order << 3 | rank[i];
    if (i < D) {
      const LanesLong coordinate = __builtin_convertvector(quotient[i], LanesLong) + kMiddle;
      key |= coordinate << (kRemainderBits + i * kBits);
    }
  }
  __builtin_memcpy(out->order, &order, sizeof order);
  __builtin_memcpy(out->too_far, &too_far, sizeof too_far);
  __builtin_memcpy(out->key[0], &key, sizeof key);
  for (int r = 1; r < A; ++r) {
    key += 1;
    for (int i = 0; i < D; ++i) {
      const LanesLong steps = __builtin_convertvector(LanesInt(rank[i] == A - r), LanesLong);
      key -= steps & int64_t(unit_of_key(D, i));
    }
    __builtin_memcpy(out->key[r], &key, sizeof key);
  }
}

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
  }
  name_vertices<D>(quotient, rank, out);
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
                    int width, float* rows) {
  float not_finite = 0.0f;  // x * 0 is NaN for infinities and NaN
  for (long start = first; start < last; start += kStrip) {
    const int n = last - start < kStrip ? int(last - start) : kStrip;
    float* row = rows + (start - first) * width;
    for (int c = 0; c < channels; ++c) {
      const float* from = planar + c * n_pixels + start;
      for (int i = 0; i < n; ++i) row[long(i) * width + c] = from[i];
      float check[4] = {};
      for (int i = 0; i < n; ++i) check[i % 4] += from[i] * 0.0f;
      not_finite += check[0] + check[1] + check[2] + check[3];
    }
    for (int i = 0; i < n; ++i) {
      for (int c = channels; c < width; ++c) row[long(i) * width + c] = 0.0f;
    }
  }
  return not_finite == 0.0f;
}

// A row of channels in registers: N vectors of W known when compiled, or N = 0: as many as `n` says.
template <typename W, int N>
struct Row {
  typename W::Float v[N ? N : kMaxBlocks];
};

#define SEGF_ALWAYS __attribute__((always_inline))

template <int C>
struct Corners {
  static constexpr int kCount = C;  // 0: known when it runs
};

// Unrolled for the two usual lattices: positions, and positions with colours.
template <typename Body>
SEGF_INLINE void by_corners(int corners, Body body) {
  if (corners == 6) body(Corners<6>());
  else if (corners == 3) body(Corners<3>());
  else body(Corners<0>());
}

// Gives emit(i, row) what the lattice says to `count` pixels from `start`, times `scale`.
template <typename W, int N, typename Emit>
SEGF_INLINE void gather(const Points points, long start, int count, int n_vectors,
                        const float* values, float scale, Emit emit) {
  typedef typename W::Float F;
  const int n = N ? N : n_vectors;
  by_corners(points.corners, [&](auto known) SEGF_ALWAYS {
    const int corners = known.kCount ? known.kCount : points.corners;
    const uint32_t* vertex = points.vertex + start * corners;
    const float* weight = points.weight + start * corners;
    for (int i = 0; i < count; ++i, vertex += corners, weight += corners) {
      Row<W, N> row;
      for (int b = 0; b < n; ++b) row.v[b] = F{};
      for (int k = 0; k < corners; ++k) {
        const F* from = (const F*)values + long(vertex[k]) * n;
        for (int b = 0; b < n; ++b) row.v[b] += weight[k] * from[b];
      }
      const float after = points.after ? scale * points.after[start + i] : scale;
      for (int b = 0; b < n; ++b) row.v[b] *= after;
      emit(i, row);
    }
  });
}

// Adds the rows of `count` pixels from `start`.
template <typename W, int N>
SEGF_INLINE void scatter(const Points points, long start, int count, int n_vectors,
                         const Row<W, N>* rows, float* sums) {
  typedef typename W::Float F;
  const int n = N ? N : n_vectors;
  by_corners(points.corners, [&](auto known) SEGF_ALWAYS {
    const int corners = known.kCount ? known.kCount : points.corners;
    const uint32_t* vertex = points.vertex + start * corners;
    const float* weight = points.weight + start * corners;
    for (int i = 0; i < count; ++i, vertex += corners, weight += corners) {
      for (int k = 0; k < corners; ++k) {
        F* to = (F*)sums + long(vertex[k]) * n;
        for (int b = 0; b < n; ++b) to[b] += weight[k] * rows[i].v[b];
      }
    }
  });
}

template <typename W, int N>
static void splat_of(const Points& points, const float* before, long first, long last,
                     int n_vectors, const float* rows, float* sums) {
  const int n = N ? N : n_vectors;
  Row<W, N> strip[kStrip];
  for (long start = first; start < last; start += kStrip) {
    const int count = last - start < kStrip ? int(last - start) : kStrip;
    for (int i = 0; i < count; ++i) {
      const typename W::Float* from = (const typename W::Float*)rows + (start - first + i) * n;
      const float scale = before ? before[start + i] : 1.0f;
      for (int b = 0; b < n; ++b) strip[i].v[b] = scale * from[b];
    }
    scatter<W, N>(points, start, count, n, strip, sums);
  }
}

// Rows of kStrip pixels, on their way to planes.
struct Strip {
  float* planar;
  long n_pixels;
  int channels;

  SEGF_INLINE_MEMBER void write(const float* rows, int width, long start, int n) const {
    for (int c = 0; c < channels; ++c) {
      float* to = planar + c * n_pixels + start;
      for (int i = 0; i < n; ++i) to[i] = rows[long(i) * width + c];
    }
  }
};

template <typename W, int N>
static void slice_of(const Points& points, long first, long last, long n_pixels, int channels,
                     int n_vectors, const float* values, float* planar) {
  const int n = N ? N : n_vectors, width = sizeof(Row<W, N>) / sizeof(float);
  const Strip out{planar, n_pixels, channels};
  Row<W, N> strip[kStrip];
  for (long start = first; start < last; start += kStrip) {
    const int count = last - start < kStrip ? int(last - start) : kStrip;
    gather<W, N>(points, start, count, n, values, 1.0f,
                 [&](int i, const Row<W, N>& row) SEGF_ALWAYS {
                   for (int b = 0; b < n; ++b) strip[i].v[b] = row.v[b];
                 });
    out.write((const float*)strip, width, start, count);
  }
}

// Adds half of both neighbours to every vertex of the chains, in place: of a vertex that is done, its
// old values are still at hand. Vertex 0, which ends a chain, holds zeros; what it would get goes
// nowhere, without a branch, for chains are too short to be foreseen.
template <typename W, int N>
static void blur_of(const uint32_t* at, const uint32_t* end, int n_vectors, float* values) {
  typedef typename W::Float F;
  const int n = N ? N : n_vectors;
  if (at == end) return;
  Row<W, N> below, self, nowhere;
  F* const base[2] = {nowhere.v, (F*)values};
  for (int b = 0; b < n; ++b) {
    below.v[b] = F{};
    self.v[b] = base[1][long(*at) * n + b];
  }
  for (; at + 1 < end; ++at) {
    F* place = base[*at != 0] + long(*at) * n;
    const F* next = base[1] + long(at[1]) * n;
    for (int b = 0; b < n; ++b) {
      const F above = next[b];
      place[b] = self.v[b] + 0.5f * (below.v[b] + above);
      below.v[b] = self.v[b];
      self.v[b] = above;
    }
  }
}

// ---- mean field: slice -> compatibility -> softmax -> splat --------------------------------------

template <typename W, int N>
SEGF_INLINE void subtract_product(const float* matrix, int channels, int n_vectors,
                                  const Row<W, N>& message, Row<W, N>& scores) {
  typedef typename W::Float F;
  const int n = N ? N : n_vectors;
  const float* numbers = (const float*)message.v;
  for (int c = 0; c < channels; ++c) {
    const F* column = (const F*)matrix + long(c) * n;
    for (int b = 0; b < n; ++b) scores.v[b] -= numbers[c] * column[b];
  }
}

template <typename W, int N>
SEGF_INLINE void softmax_row(int n_vectors, Row<W, N>& row) {
  typedef typename W::Float F;
  const int n = N ? N : n_vectors;
  F top = row.v[0];
  for (int b = 1; b < n; ++b) top = larger(top, row.v[b]);
  const float peak = largest_of(top);
  F total = {};
  for (int b = 0; b < n; ++b) {
    row.v[b] = exp_of<W>(row.v[b] - peak);
    total += row.v[b];
  }
  const float share = 1.0f / sum_of(total);
  for (int b = 0; b < n; ++b) row.v[b] *= share;
}

template <typename T>
SEGF_INLINE void prefetch(const T* from, const T* end) {
  for (const char* at = (const char*)from; at < (const char*)end; at += 64) __builtin_prefetch(at);
}

// What the strip at `start` will read in order: strips are so short, with so much between them, that
// the processor does not foresee it.
SEGF_INLINE void prefetch_strip(const Pass& pass, long start) {
  if (start >= pass.last) return;
  const long end = start + kStrip < pass.last ? start + kStrip : pass.last;
  prefetch(pass.unary + start * pass.channels, pass.unary + end * pass.channels);
  for (int t = 0; t < pass.n_terms; ++t) {
    const Points& points = pass.terms[t].points;
    prefetch(points.vertex + start * points.corners, points.vertex + end * points.corners);
    prefetch(points.weight + start * points.corners, points.weight + end * points.corners);
    if (points.after) prefetch(points.after + start, points.after + end);
  }
}

// Rows of scores, which lie without gaps; channels that only fill the last vector up never win.
template <typename W, int N>
SEGF_INLINE void read_unary(const Pass& pass, long start, int count, int n_vectors,
                            Row<W, N>* rows) {
  typedef typename W::Float F;
  constexpr int kWidth = sizeof(F) / sizeof(float);
  const int n = N ? N : n_vectors, channels = pass.channels;
  typename W::Int used;
  for (int i = 0; i < kWidth; ++i) used[i] = (n - 1) * kWidth + i < channels ? -1 : 0;
  const float* from = pass.unary + start * channels;
  for (int i = 0; i < count; ++i, from += channels) {
    for (int b = 0; b < n; ++b) rows[i].v[b] = ((const F*)from)[b];
    rows[i].v[n - 1] = used ? rows[i].v[n - 1] : F{} + kNever;
  }
}

template <typename W, int N>
SEGF_INLINE void scores_of(const Pass& pass, long start, int count, int n_vectors,
                           Row<W, N>* scores) {
  const int n = N ? N : n_vectors;
  read_unary<W, N>(pass, start, count, n, scores);
  if (!pass.terms[0].values) return;  // the first pass: no message yet
  Row<W, N> mixed[kStrip], *messages = scores;
  if (pass.compatibility) {
    messages = mixed;
    for (int i = 0; i < count; ++i) {
      for (int b = 0; b < n; ++b) mixed[i].v[b] = typename W::Float{};
    }
  }
  for (int t = 0; t < pass.n_terms; ++t) {
    const Term& term = pass.terms[t];
    if (term.matrix) {
      gather<W, N>(term.points, start, count, n, term.values, 1.0f,
                   [&](int i, const Row<W, N>& row) SEGF_ALWAYS {
                     subtract_product<W, N>(term.matrix, pass.channels, n, row, scores[i]);
                   });
    } else {
      gather<W, N>(term.points, start, count, n, term.values, term.scale,
                   [&](int i, const Row<W, N>& row) SEGF_ALWAYS {
                     for (int b = 0; b < n; ++b) messages[i].v[b] += row.v[b];
                   });
    }
  }
  if (!pass.compatibility) return;
  for (int i = 0; i < count; ++i) {
    subtract_product<W, N>(pass.compatibility, pass.channels, n, mixed[i], scores[i]);
  }
}

// Strips go through each step as a whole: in steps this short the processor works on several pixels
// at once, where a pixel's whole chain of steps would keep it waiting.
template <typename W, int N>
static void update_of(const Pass& pass, int n_vectors) {
  Row<W, N> strip[kStrip];
  for (long start = pass.first; start < pass.last; start += kStrip) {
    const int count = pass.last - start < kStrip ? int(pass.last - start) : kStrip;
    prefetch_strip(pass, start + kStrip);
    scores_of<W, N>(pass, start, count, n_vectors, strip);
    for (int i = 0; i < count; ++i) softmax_row<W, N>(n_vectors, strip[i]);
    for (int t = 0; t < pass.n_terms; ++t) {
      scatter<W, N>(pass.terms[t].points, start, count, n_vectors, strip, pass.terms[t].sums);
    }
  }
}

template <typename W, int N>
static void finish_of(const Pass& pass, int n_vectors) {
  const int width = sizeof(Row<W, N>) / sizeof(float);
  const Strip out{pass.scores, pass.n_pixels, pass.channels};
  Row<W, N> strip[kStrip];
  for (long start = pass.first; start < pass.last; start += kStrip) {
    const int count = pass.last - start < kStrip ? int(pass.last - start) : kStrip;
    prefetch_strip(pass, start + kStrip);
    scores_of<W, N>(pass, start, count, n_vectors, strip);
    out.write((const float*)strip, width, start, count);
  }
}

#ifdef SEGF_WIDE
#define SEGF_PAIRS(call) \
  case 2: return call(Wide, 1, 1); \
  case 4: return call(Wide, 2, 2);
#else
#define SEGF_PAIRS(call) \
  case 2: return call(Narrow, 2, 2); \
  case 4: return call(Narrow, 4, 4);
#endif

// Calls with (width of vectors, how many where that is known, how many).
#define SEGF_BY_BLOCKS(blocks, call) \
  switch (blocks) { \
    case 1: return call(Narrow, 1, 1); \
    case 3: return call(Narrow, 3, 3); \
    SEGF_PAIRS(call) \
    default: return call(Narrow, 0, blocks); \
  }
// The same for rows that may be of a single channel.
#define SEGF_BY_WIDTH(width, call) \
  if (width == 1) return call(Single, 1, 1); \
  SEGF_BY_BLOCKS(width / kBlock, call)

static void splat(const Points& points, const float* before, long first, long last, int width,
                  const float* rows, float* sums) {
#define SEGF_CALL(W, N, n) splat_of<W, N>(points, before, first, last, n, rows, sums)
  SEGF_BY_WIDTH(width, SEGF_CALL)
#undef SEGF_CALL
}

static void slice(const Points& points, long first, long last, long n_pixels, int channels,
                  const float* values, float* planar) {
  const int width = row_width(channels);
#define SEGF_CALL(W, N, n) slice_of<W, N>(points, first, last, n_pixels, channels, n, values, planar)
  SEGF_BY_WIDTH(width, SEGF_CALL)
#undef SEGF_CALL
}

static void blur(const uint32_t* chains, const uint32_t* end, int width, float* values) {
#define SEGF_CALL(W, N, n) blur_of<W, N>(chains, end, n, values)
  SEGF_BY_WIDTH(width, SEGF_CALL)
#undef SEGF_CALL
}

static void pass(const Pass& p) {
#define SEGF_UPDATE(W, N, n) update_of<W, N>(p, n)
#define SEGF_FINISH(W, N, n) finish_of<W, N>(p, n)
  if (p.scores) {
    SEGF_BY_BLOCKS(p.blocks, SEGF_FINISH)
  }
  SEGF_BY_BLOCKS(p.blocks, SEGF_UPDATE)
#undef SEGF_UPDATE
#undef SEGF_FINISH
}

// ---- box and guided filter, on planes ------------------------------------------------------------
//
// Planes of the filters' own have rows of whole vectors, `stride` numbers long, that end in zeros;
// those of the caller have rows of `width` numbers.

#ifdef SEGF_WIDE
typedef Wide SpanWidth;
#else
typedef Narrow SpanWidth;
#endif
typedef SpanWidth::Float Span;  // pixels side by side
constexpr int kSpan = SpanWidth::kBlocks * kBlock;

SEGF_INLINE Span load(const float* from, int n) {
  Span v = {};
  if (n == kSpan) __builtin_memcpy(&v, from, sizeof v);
  else __builtin_memcpy(&v, from, sizeof(float) * n);
  return v;
}

SEGF_INLINE void store(float* to, Span v, int n) {
  if (n == kSpan) __builtin_memcpy(to, &v, sizeof v);
  else __builtin_memcpy(to, &v, sizeof(float) * n);
}

template <int kLength>
static void add_few(const float* padded, int stride, float* out) {
  for (int x = 0; x < stride; x += kSpan) {
    Span sum = load(padded + x, kSpan);
    for (int k = 1; k < kLength; ++k) sum += load(padded + x + k, kSpan);
    store(out + x, sum, kSpan);
  }
}

// Doubling spans: about 2 log2(length) additions, and nothing drifts as in a running sum.
static void add_many(float* padded, int stride, int length, float* out) {
  for (int x = 0; x < stride; ++x) out[x] = 0.0f;
  for (int span = 1, covered = 0; covered < length; span *= 2) {
    if (length & span) {
      for (int x = 0; x < stride; ++x) out[x] += padded[covered + x];
      covered += span;
    }
    const int needed = stride + length - 2 * span;  // all that later spans still read
#pragma GCC ivdep
    for (int x = 0; x < needed; ++x) padded[x] += padded[x + span];
  }
}

// Sums over windows of 2 radius + 1 numbers: out[x] = padded[x] + ... + padded[x + 2 radius].
static void add_windows(float* padded, int stride, int radius, float* out) {
  switch (radius) {
    case 0: return add_few<1>(padded, stride, out);
    case 1: return add_few<3>(padded, stride, out);
    case 2: return add_few<5>(padded, stride, out);
    case 3: return add_few<7>(padded, stride, out);
    case 4: return add_few<9>(padded, stride, out);
    case 5: return add_few<11>(padded, stride, out);
    case 6: return add_few<13>(padded, stride, out);
    case 7: return add_few<15>(padded, stride, out);
    case 8: return add_few<17>(padded, stride, out);
    default: return add_many(padded, stride, 2 * radius + 1, out);
  }
}

// Doubling leaves sums in the margins of a padded row, which are to be zero again.
SEGF_INLINE void clear_margins(float* padded, int stride, int radius) {
  for (int x = 0; x < radius; ++x) padded[x] = 0.0f;
  for (int x = radius + stride; x < padded_row(stride, radius); ++x) padded[x] = 0.0f;
}

// Window sums of P planes, row by row. Rows enter a few at a time, lest loads wait for stores, and are
// kept, summed along themselves, until they have left the window: all of it stays in the first caches.
template <int P>
struct Windows {
  const int height, stride, radius, kept, length;
  float *padded, *rows, *columns, *zeros;  // [kRows][P][length], [kept][P][stride], [P][stride] each
  const float *enters = nullptr, *leaves = nullptr;
  int entered = 0;

  SEGF_INLINE_MEMBER Windows(const Plane& plane, float* scratch)
      : height(plane.height), stride(plane.stride), radius(plane.radius), kept(rows_kept(plane)),
        length(padded_row(stride, radius)), padded(scratch), rows(padded + kRows * P * length),
        columns(rows + long(kept) * P * stride), zeros(columns + P * stride) {
    for (int i = 0; i < kRows * P * length; ++i) padded[i] = 0.0f;
    for (int i = 0; i < 2 * P * stride; ++i) columns[i] = 0.0f;
  }

  SEGF_INLINE_MEMBER float* row_of(int y) const { return rows + long(y % kept) * P * stride; }

  // Slides to the windows around the next row. fill(row, out) writes what enters: plane k at
  // out + k * length.
  template <typename Fill>
  SEGF_INLINE_MEMBER void slide_to(int row, Fill fill) {
    while (entered <= row + radius && entered < height) enter(fill);
    if (row == 0) {
      for (int y = 0; y < radius && y < height; ++y) {
        for (int i = 0; i < P * stride; ++i) columns[i] += row_of(y)[i];
      }
    }
    enters = row + radius < height ? row_of(row + radius) : zeros;
    leaves = row - radius > 0 ? row_of(row - radius - 1) : zeros;
  }

  // Their sums at x; once for each vector of the row.
  SEGF_INLINE_MEMBER void sums_at(int x, Span* sums) {
    for (int k = 0; k < P; ++k) {
      const int at = k * stride + x;
      sums[k] = load(columns + at, kSpan) + load(enters + at, kSpan) - load(leaves + at, kSpan);
      store(columns + at, sums[k], kSpan);
    }
  }

 private:
  template <typename Fill>
  SEGF_INLINE_MEMBER void enter(Fill fill) {
    const int count = height - entered < kRows ? height - entered : kRows;
    for (int y = 0; y < count; ++y) fill(entered + y, padded + y * P * length + radius);
    for (int y = 0; y < count; ++y) {
      for (int k = 0; k < P; ++k) {
        float* row = padded + (y * P + k) * length;
        add_windows(row, stride, radius, row_of(entered + y) + k * stride);
        clear_margins(row, stride, radius);
      }
    }
    entered += count;
  }
};

// How many numbers of the vector at x lie inside the caller's rows.
SEGF_INLINE int inside(const Plane& plane, int x) {
  return plane.width - x < kSpan ? plane.width - x : kSpan;
}

static void box(const Plane& plane, const float* x, float* y, float* scratch) {
  const int stride = plane.stride, width = plane.width;
  Windows<1> windows(plane, scratch);
  for (int row = 0; row < plane.height; ++row) {
    windows.slide_to(row, [&](int entering, float* out) SEGF_ALWAYS {
      const float* from = x + long(entering) * width;
      for (int i = 0; i < stride; i += kSpan) {
        const Span before = load(plane.before + long(entering) * stride + i, kSpan);
        store(out + i, load(from + i, inside(plane, i)) * before, kSpan);
      }
    });
    for (int i = 0; i < stride; i += kSpan) {
      Span sum[1];
      windows.sums_at(i, sum);
      const Span after = load(plane.after + long(row) * stride + i, kSpan);
      store(y + long(row) * width + i, sum[0] * after, inside(plane, i));
    }
  }
}

// In double, since variances are small differences of large numbers.
typedef double Doubles __attribute__((vector_size(8 * kSpan)));

SEGF_INLINE Doubles doubles(Span v) { return __builtin_convertvector(v, Doubles); }

// 1 / count of valid pixels, exactly, from its rounded value; 0 stays 0.
SEGF_INLINE Doubles exact_share(Span rounded) {
  const Doubles share = doubles(rounded), half = Doubles{} + 6755399441055744.0;  // 1.5 * 2^52
  const Doubles count = (1.0 / share + half) - half;  // adding it rounds to an integer
  return share > 0.0 ? 1.0 / count : Doubles{};
}

// Mean (3) and inverse covariance (6) of windows from their sums.
SEGF_INLINE void statistics_of(const Span* sums, Doubles share, double eps, Doubles* mean,
                               Doubles* inverse) {
  constexpr int kFirst[6] = {0, 0, 0, 1, 1, 2}, kSecond[6] = {0, 1, 2, 1, 2, 2};
  for (int k = 0; k < 3; ++k) mean[k] = doubles(sums[k]) * share;
  Doubles c[6];
  for (int k = 0; k < 6; ++k) {
    c[k] = doubles(sums[3 + k]) * share - mean[kFirst[k]] * mean[kSecond[k]];
  }
  const Doubles rr = c[0] + eps, rg = c[1], rb = c[2], gg = c[3] + eps, gb = c[4], bb = c[5] + eps;
  const Doubles cofactors[6] = {gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg,
                                rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg};
  const Doubles scale = 1.0 / (rr * cofactors[0] + rg * cofactors[1] + rb * cofactors[2]);
  for (int k = 0; k < 6; ++k) inverse[k] = scale * cofactors[k];
}

static void guided_statistics(const Plane& plane, float eps, const float* guide, float* mean,
                              float* inverse, float* scratch) {
  const long n = long(plane.height) * plane.stride;
  Windows<9> windows(plane, scratch);
  for (int row = 0; row < plane.height; ++row) {
    windows.slide_to(row, [&](int entering, float* out) SEGF_ALWAYS {
      for (int i = 0; i < plane.stride; i += kSpan) {
        const long at = long(entering) * plane.stride + i;
        const Span w = load(plane.before + at, kSpan);
        const Span r = load(guide + at, kSpan), g = load(guide + n + at, kSpan),
                   b = load(guide + 2 * n + at, kSpan);
        const Span first[9] = {r, g, b, r * r, r * g, r * b, g * g, g * b, b * b};
        for (int k = 0; k < 9; ++k) store(out + k * windows.length + i, first[k] * w, kSpan);
      }
    });
    for (int i = 0; i < plane.stride; i += kSpan) {
      const long at = long(row) * plane.stride + i;
      Span sums[9];
      windows.sums_at(i, sums);
      Doubles m[3], inverted[6];
      statistics_of(sums, exact_share(load(plane.after + at, kSpan)), eps, m, inverted);
      for (int k = 0; k < 3; ++k) {
        store(mean + k * n + at, __builtin_convertvector(m[k], Span), kSpan);
      }
      for (int k = 0; k < 6; ++k) {
        store(inverse + k * n + at, __builtin_convertvector(inverted[k], Span), kSpan);
      }
    }
  }
}

// A window's coefficients a (3) and b, from the sums of its values and of their products with the
// guide.
SEGF_INLINE void regress(const GuidedPlan& plan, long at, const Span* sums, Span* coefficients) {
  const long n = long(plan.plane.height) * plan.plane.stride;
  const Span share = load(plan.plane.after + at, kSpan), w = load(plan.plane.before + at, kSpan);
  const Span p = sums[0] * share;
  Span m[3], c[3], s[6];
  for (int k = 0; k < 3; ++k) m[k] = load(plan.mean + k * n + at, kSpan);
  for (int k = 0; k < 3; ++k) c[k] = sums[1 + k] * share - m[k] * p;
  for (int k = 0; k < 6; ++k) s[k] = load(plan.inverse + k * n + at, kSpan);
  const Span a0 = s[0] * c[0] + s[1] * c[1] + s[2] * c[2];
  const Span a1 = s[1] * c[0] + s[3] * c[1] + s[4] * c[2];
  const Span a2 = s[2] * c[0] + s[4] * c[1] + s[5] * c[2];
  coefficients[0] = w * a0;
  coefficients[1] = w * a1;
  coefficients[2] = w * a2;
  coefficients[3] = w * (p - (m[0] * a0 + m[1] * a1 + m[2] * a2));
}

static void guided(const GuidedPlan& plan, const float* x, float* y, float* scratch) {
  const Plane& plane = plan.plane;
  const int stride = plane.stride;
  const long n = long(plane.height) * stride;
  Windows<4> values(plane, scratch), lines(plane, scratch + window_scratch(plane, 4));
  const auto enter_values = [&](int row, float* out) SEGF_ALWAYS {
    for (int i = 0; i < stride; i += kSpan) {
      const long at = long(row) * stride + i;
      const Span in = load(x + long(row) * plane.width + i, inside(plane, i));
      const Span value = in * load(plane.before + at, kSpan);
      store(out + i, value, kSpan);
      for (int k = 0; k < 3; ++k) {
        store(out + (1 + k) * values.length + i, value * load(plan.guide + k * n + at, kSpan), kSpan);
      }
    }
  };
  const auto enter_lines = [&](int row, float* out) SEGF_ALWAYS {
    values.slide_to(row, enter_values);
    for (int i = 0; i < stride; i += kSpan) {
      Span sums[4], coefficients[4];
      values.sums_at(i, sums);
      regress(plan, long(row) * stride + i, sums, coefficients);
      for (int k = 0; k < 4; ++k) store(out + k * lines.length + i, coefficients[k], kSpan);
    }
  };
  for (int row = 0; row < plane.height; ++row) {
    lines.slide_to(row, enter_lines);
    for (int i = 0; i < stride; i += kSpan) {
      const long at = long(row) * stride + i;
      Span sums[4];
      lines.sums_at(i, sums);
      Span out = sums[3];
      for (int k = 0; k < 3; ++k) out += sums[k] * load(plan.guide + k * n + at, kSpan);
      out *= load(plane.after + at, kSpan);
      store(y + long(row) * plane.width + i, out, inside(plane, i));
    }
  }
}

// row += weight f, or row -= M f with the rows of M's transpose.
SEGF_INLINE void add_filtered(const float* filtered, float weight, const float* matrix,
                              long n_pixels, int channels, long start, int n, Span* row) {
  for (int from = 0; from < channels; ++from) {
    const Span f = load(filtered + from * n_pixels + start, n);
    if (!matrix) {
      row[from] += weight * f;
      continue;
    }
    const float* column = matrix + long(from) * channels;
    for (int c = 0; c < channels; ++c) row[c] -= column[c] * f;
  }
}

static void softmax(const float* unary, const float* filtered, float weight, const float* matrix,
                    long n_pixels, int channels, long first, long last, float* probs,
                    float* scores) {
  Span row[kMaxBlocks * kBlock];
  for (long start = first; start < last; start += kSpan) {
    const int n = last - start < kSpan ? int(last - start) : kSpan;
    for (int c = 0; c < channels; ++c) row[c] = load(unary + c * n_pixels + start, n);
    if (filtered) add_filtered(filtered, weight, matrix, n_pixels, channels, start, n, row);
    if (scores) {
      for (int c = 0; c < channels; ++c) store(scores + c * n_pixels + start, row[c], n);
      continue;
    }
    Span peak = row[0], total = {};
    for (int c = 1; c < channels; ++c) peak = larger(peak, row[c]);
    for (int c = 0; c < channels; ++c) {
      row[c] = exp_of<SpanWidth>(row[c] - peak);
      total += row[c];
    }
    const Span share = 1.0f / total;
    for (int c = 0; c < channels; ++c) store(probs + c * n_pixels + start, row[c] * share, n);
  }
}

constexpr Kernels table(const char* name) {
  return {name, simplices, to_rows, splat, slice,  blur,
          pass, box,       guided,  guided_statistics, softmax};
}

}  // namespace SEGF_ISA
}  // namespace segf
