// The permutohedral lattice (Adams, Baek and Davis 2010): built once a frame, applied often.
#pragma once

#include <vector>

#include "kernels.h"
#include "memory.h"

namespace segf {

// The features reach further than the lattice can count.
struct TooFar {};

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
  Points points() const;

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
  void link(const Table& all);
  void normalise(const uint8_t* valid, bool symmetric);

  int axes_ = 0;
  int bits_ = 0;  // of a coordinate in a packed key
  long n_ = 0, m_ = 1;
  Array<uint32_t> vertex_;        // [N][axes]
  Array<float> weight_;           // [N][axes]
  Array<float> before_, after_;   // [N]
  Array<uint32_t> lower_, upper_; // [axes][M]
};

// Room for the values of one lattice's vertices: every part of a pixel pass sums into its own, `blur`
// adds them up, blurs, and leaves them empty.
class Exchange {
 public:
  Exchange(const Lattice& lattice, int blocks, int parts);

  float* sums(int part) { return sums_[part].data(); }
  const float* blurred() const { return from_; }
  void blur(bool reverse);

 private:
  const Lattice& lattice_;
  const int blocks_;
  std::vector<Array<float>> sums_;
  Array<float> first_, second_;
  float* from_ = nullptr;
};

// In how many parts a pixel pass is cut.
int parts_for(long n_pixels);

}  // namespace segf
