// The count-normalised box filter and the colour guided filter (He, Sun and Tang 2013), on planes.
#pragma once

#include "kernels.h"
#include "memory.h"

namespace segf {

class Box {
 public:
  // `valid` [N] may be null.
  Box(int height, int width, int radius, const uint8_t* valid);

  long n_pixels() const { return long(height_) * width_; }
  Plane plane(bool transposed) const;
  void apply(const float* x, float* y, int channels, bool transposed) const;

 private:
  int height_, width_, stride_, radius_;
  Array<float> before_, after_;  // [height][stride]
};

class Guided {
 public:
  // `guide` [3][N], centred on grey.
  Guided(int height, int width, int radius, float eps, const float* guide, const uint8_t* valid);

  long n_pixels() const { return box_.n_pixels(); }
  void apply(const float* x, float* y, int channels, bool transposed) const;
  // s = u - weight mu F softmax(s), `iterations` times. `compatibility` is mu [channels][channels],
  // null = -I.
  void mean_field(const float* unary, int channels, float weight, const float* compatibility,
                  int iterations, float* scores) const;

 private:
  Box box_;
  Array<float> guide_, mean_, inverse_;
};

}  // namespace segf
