#include "guided.h"

#include <algorithm>

#include "pool.h"

namespace segf {
namespace {

constexpr long kSmallPlanes = 1 << 14;  // numbers below which threads cost more than they give

// Deals out channels, with scratch. One by one: a thread that has to be woken finds less to do.
template <typename Each>
void for_channels(int channels, long numbers, long scratch, Each each) {
  const bool alone = numbers < kSmallPlanes || Pool::instance().size() == 1;
  const int parts = alone ? 1 : channels;
  Pool::instance().run(parts, [&](int part) {
    Array<float> room(scratch);
    const Share share(channels, part, parts);
    for (long c = share.first; c < share.last; ++c) each(c, room.data());
  });
}

Array<float> scaled_transpose(const float* matrix, int channels, float scale) {
  Array<float> transpose(std::size_t(channels) * channels);
  for (int to = 0; to < channels; ++to) {
    for (int from = 0; from < channels; ++from) {
      transpose[from * channels + to] = scale * matrix[to * channels + from];
    }
  }
  return transpose;
}

}  // namespace

Box::Box(int height, int width, int radius, const uint8_t* valid)
    : height_(height), width_(width), stride_((width + kLanes - 1) / kLanes * kLanes), radius_(radius),
      before_(std::size_t(height) * stride_), after_(before_.size()) {
  before_.clear();
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const bool counts = !valid || valid[long(y) * width + x];
      before_[long(y) * stride_ + x] = counts ? 1.0f : 0.0f;
    }
  }
  std::copy_n(before_.data(), before_.size(), after_.data());
  const Plane unscaled = plane(false);
  Array<float> ones(n_pixels()), count(n_pixels()), scratch(window_scratch(unscaled, 1));
  std::fill_n(ones.data(), ones.size(), 1.0f);
  kernels().box(unscaled, ones.data(), count.data(), scratch.data());
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      after_[long(y) * stride_ + x] /= std::max(count[long(y) * width + x], 1.0f);
    }
  }
}

Plane Box::plane(bool transposed) const {
  const float *before = before_.data(), *after = after_.data();
  if (transposed) std::swap(before, after);
  return {height_, width_, stride_, radius_, before, after};
}

void Box::apply(const float* x, float* y, int channels, bool transposed) const {
  const long n = n_pixels();
  const Plane plane = this->plane(transposed);
  for_channels(channels, n * channels, window_scratch(plane, 1), [&](long c, float* scratch) {
    kernels().box(plane, x + c * n, y + c * n, scratch);
  });
}

Guided::Guided(int height, int width, int radius, float eps, const float* guide,
               const uint8_t* valid)
    : box_(height, width, radius, valid) {
  const Plane plane = box_.plane(false);
  const std::size_t n = std::size_t(height) * plane.stride;
  guide_ = Array<float>(3 * n);
  mean_ = Array<float>(3 * n);
  inverse_ = Array<float>(6 * n);
  guide_.clear();
  for (long row = 0; row < 3L * height; ++row) {
    std::copy_n(guide + row * width, width, guide_.data() + row * plane.stride);
  }
  Array<float> scratch(window_scratch(plane, 9));
  kernels().guided_statistics(plane, eps, guide_.data(), mean_.data(), inverse_.data(),
                              scratch.data());
}

// F = G^T B M B G with G = (guide, 1) and a symmetric M at every pixel: the adjoint is the same with
// the box's, which scales before it sums.
void Guided::apply(const float* x, float* y, int channels, bool transposed) const {
  const long n = n_pixels();
  const GuidedPlan plan{box_.plane(transposed), guide_.data(), mean_.data(), inverse_.data()};
  for_channels(channels, n * channels, window_scratch(plan.plane, 8), [&](long c, float* scratch) {
    kernels().guided(plan, x + c * n, y + c * n, scratch);
  });
}

void Guided::mean_field(const float* unary, int channels, float weight, const float* compatibility,
                        int iterations, float* scores) const {
  const long n = n_pixels();
  Array<float> probs(n * channels), filtered(n * channels), matrix;
  if (compatibility) matrix = scaled_transpose(compatibility, channels, weight);
  const int parts = n * channels < kSmallPlanes ? 1 : Pool::instance().size();
  auto update = [&](const float* message, float* out) {
    Pool::instance().run(parts, [&](int part) {
      const Share share(n, part, parts);
      kernels().softmax(unary, message, weight, matrix.data(), n, channels, share.first,
                        share.last, probs.data(), out);
    });
  };
  for (int i = 0; i < iterations; ++i) {
    update(i ? filtered.data() : nullptr, nullptr);
    apply(probs.data(), filtered.data(), channels, false);
  }
  update(iterations ? filtered.data() : nullptr, scores);
}

}  // namespace segf
