// The arithmetic of the filters, compiled once for every instruction set (isa_*.cpp) and chosen at
// run time. Everything is float32. "Rows" are channel-last: one pixel's or vertex's channels, padded
// with zeros to whole blocks of kBlock.
#pragma once

#include <cstdint>

namespace segf {

constexpr int kBlock = 8;        // channels in a block
constexpr int kLanes = 16;       // pixels whose simplices are found at once
constexpr int kMaxDims = 6;      // features of a pixel
constexpr int kMaxBlocks = 128;  // 1024 classes
constexpr float kNever = -1e30f; // score of the channels that only fill a block up

inline int blocks_of(int channels) { return (channels + kBlock - 1) / kBlock; }

// Numbers in a row that is filtered; that of a single channel needs no block.
inline int row_width(int channels) { return channels == 1 ? 1 : blocks_of(channels) * kBlock; }

// A lattice point as one number: its first dims coordinates in units of dims + 1, from a middle, above
// the remainder that they share. The last coordinate is implied. Never 0.
constexpr int kRemainderBits = 3;  // 0 ... kMaxDims
inline constexpr int bits_of_key(int dims) { return (64 - kRemainderBits) / dims; }
inline constexpr uint64_t unit_of_key(int dims, int axis) {
  return axis < dims ? uint64_t(1) << (kRemainderBits + axis * bits_of_key(dims)) : 0;
}

// Where kLanes points lie in the lattice of dims + 1 axes.
struct Simplices {
  uint64_t key[kMaxDims + 1][kLanes];  // of the vertices, by their remainders
  int32_t order[kLanes];               // with the first key: of the simplex
  int32_t too_far[kLanes];             // not 0: beyond what keys can hold, all else is undefined
  float weight[kMaxDims + 1][kLanes];  // barycentric coordinates
};

// One lattice as a pixel pass sees it. The weights of pixels that are not in it are 0.
struct Points {
  int corners;             // dims + 1
  const uint32_t* vertex;  // [N][corners]
  const float* weight;     // [N][corners]
  const float* after;      // [N], factor after the kernel; null = 1
};

// A term of the mean field: the lattice, where its messages are read and where the next are summed.
struct Term {
  Points points;
  float scale;
  const float* matrix;  // instead of `scale` and `Pass::compatibility`, stored like that; null = none
  const float* values;  // [M][blocks], blurred; null = no message yet
  float* sums;          // [M][blocks]; null = nobody will read them
};

// What one fused pixel pass needs: slice -> compatibility -> softmax -> splat.
struct Pass {
  long first, last;            // pixels
  long n_pixels;
  int channels, blocks;
  const float* unary;          // [N][channels], and a row of blocks behind it
  const float* compatibility;  // rows [channels][blocks] of its transpose; null = Potts
  const Term* terms;
  int n_terms;
  float* scores;  // [channels][N] planar; null = not the last pass
};

// The windows of a box filter. Factors are [height][stride] and zero behind `width`; `stride` is a
// multiple of kLanes.
struct Plane {
  int height, width, stride, radius;
  const float* before;  // factor before the sum
  const float* after;   // factor after it
};

// One colour guided filter, planes [height][stride].
struct GuidedPlan {
  Plane plane;
  const float* guide;    // 3 planes
  const float* mean;     // 3
  const float* inverse;  // 6: rr rg rb gg gb bb
};

struct Kernels {
  const char* name;
  void (*simplices)(const float* features, int dims, Simplices* out);  // features [dims][kLanes]
  // Planar [channels][N] -> rows of pixels first..last; false if a number is not finite.
  bool (*to_rows)(const float* planar, long n_pixels, long first, long last, int channels,
                  int width, float* rows);
  // `before` [N] is a factor of the rows; null = 1.
  void (*splat)(const Points& points, const float* before, long first, long last, int width,
                const float* rows, float* sums);
  void (*slice)(const Points& points, long first, long last, long n_pixels, int channels,
                const float* values, float* planar);
  // In place, along whole chains of neighbours, each ended by a 0.
  void (*blur)(const uint32_t* chains, const uint32_t* end, int width, float* values);
  void (*pass)(const Pass& pass);
  // y = F x of one plane [height][width]; `scratch` holds window_scratch(1) or (8) numbers.
  void (*box)(const Plane& plane, const float* x, float* y, float* scratch);
  void (*guided)(const GuidedPlan& plan, const float* x, float* y, float* scratch);
  // Means and inverse covariances of the guide's windows; window_scratch(9).
  void (*guided_statistics)(const Plane& plane, float eps, const float* guide, float* mean,
                            float* inverse, float* scratch);
  // q = softmax(u + weight f) over channels of planes [C][N], pixels first..last, or of u - M f with
  // a matrix (its transpose, [C][C]); f may be null.
  void (*softmax)(const float* unary, const float* filtered, float weight, const float* matrix,
                  long n_pixels, int channels, long first, long last, float* probs, float* scores);
};

// Window sums: rows that enter at once, the length of one with margins for the windows at its ends,
// how many are kept, and the room that it all takes for so many planes.
constexpr int kRows = 8;
inline int padded_row(int stride, int radius) { return stride + 2 * radius + kLanes; }
inline int rows_kept(const Plane& plane) {
  const int needed = 2 * plane.radius + 1 + kRows;
  return needed < plane.height ? needed : plane.height;
}
inline long window_scratch(const Plane& plane, int planes) {
  const long padded = long(kRows) * padded_row(plane.stride, plane.radius);
  return planes * (padded + (rows_kept(plane) + 2L) * plane.stride);
}

extern const Kernels kBaseline;
#if defined(__x86_64__)
extern const Kernels kAvx2;
extern const Kernels kAvx512;
#endif

// The best that this processor runs, or the one that was selected.
const Kernels& kernels();
// Chooses by name ("baseline", "avx2", "avx512"); false if this processor does not run it.
bool select_kernels(const char* name);

}  // namespace segf
