// The permutohedral lattice (Adams, Baek and Davis 2010): built once a frame, applied often.
#pragma once

#include <vector>

#include "kernels.h"
#include "memory.h"

namespace segf {

// The features reach further than the lattice can count.
struct TooFar {};

class Numbers;

// Where the features of pixels come from: planes, or an image (null: positions only).
struct Features {
  int height, width;
  int dims;
  const float* planes;   // [dims][N], or null
  const uint8_t* image;  // [N][3], or null
  float sxy, srgb;
};

class Lattice {
 public:
  // Features must be finite. `valid` [N] may be null; pixels where it is 0 are not in the lattice.
  // Throws TooFar.
  Lattice(const Features& features, const uint8_t* valid, bool symmetric);

  long n_pixels() const { return n_; }
  long n_vertices() const { return m_; }  // vertex 0 stands for "none" and stays 0
  Points points() const { return {axes_, vertex_.data(), weight_.data(), scale_.data()}; }

  // y = D K E x (or its transpose E K^T D) of planes [channels][N].
  void apply(const float* x, float* y, int channels, bool transposed) const;

 private:
  friend class Exchange;
  struct Table;  // what one part of the image has found

  void find_simplices(const Features& features, const uint8_t* valid, Table& table, long first,
                      long last);
  void enter(const Simplices& found, int lane, long pixel, Table& table);
  void leave_out(long pixel);
  void join(std::vector<Table>& tables);
  void link(const Numbers& all);
  long chain_up(const uint32_t* lower, const uint32_t* upper, uint32_t* chains) const;
  void normalise(bool symmetric);
  void blur(int axis, int width, float* values) const;
  // How many vertices a part of the image may touch where it is cut in so many: those that this part
  // and the ones before it were the first to find.
  long reach(int part, int parts) const { return parts == int(reach_.size()) ? reach_[part] : m_; }

  int axes_ = 0;
  long n_ = 0, m_ = 1, room_ = 0;
  Array<uint32_t> vertex_;   // [N][axes]
  Array<float> weight_;      // [N][axes], 0 where a pixel is not in the lattice
  Array<float> scale_;       // [N], behind the kernel; none if symmetric
  Array<uint32_t> chains_;   // [axes][room]: neighbours along an axis, each chain ended by a 0
  std::vector<long> length_; // [axes], of that used
  std::vector<long> reach_;  // [parts it was built in]
};

// Room for the values of one lattice's vertices: every part of a pixel pass sums into its own, `blur`
// adds them up, blurs, and leaves them empty.
class Exchange {
 public:
  Exchange(const Lattice& lattice, int width, int parts);

  float* sums(int part) { return sums_[part].data(); }
  const float* blurred() const { return blurred_.data(); }
  void blur(bool reverse);

 private:
  const Lattice& lattice_;
  const int width_;
  std::vector<Array<float>> sums_;
  Array<float> blurred_;
};

// In how many parts a pixel pass is cut.
int parts_for(long n_pixels);

}  // namespace segf
