#include "guided.h"

#include <algorithm>

#include "pool.h"

namespace segf {
namespace {

constexpr long kSmallPlanes = 1 << 14;  // numbers below which threads cost more than they give

// Shares out channels; each share has scratch of its own.
template <typename Each>
void for_channels(int channels, long numbers, long scratch, Each each) {
  const int parts = numbers < kSmallPlanes ? 1 : std::min(channels, Pool::instance().size());
  Pool::instance().run(parts, [&](int part) {
    Array<float> room(scratch);
    const Share share(channels, part, parts);
    for (long c = share.first; c < share.last; ++c) each(c, room.data());
  });
}

}  // namespace

Box::Box(int height, int width, int radius, const uint8_t* valid)
    : height_(height), width_(width), radius_(radius), before_(n_pixels()), after_(n_pixels()) {
  const long n = n_pixels();
  for (long i = 0; i < n; ++i) before_[i] = !valid || valid[i] ? 1.0f : 0.0f;
  Array<float> scratch(box_scratch(width, radius));
  kernels().box(height, width, radius, before_.data(), before_.data(), before_.data(),
                after_.data(), scratch.data());
  for (long i = 0; i < n; ++i) after_[i] = before_[i] / std::max(after_[i], 1.0f);
}

void Box::apply(const float* x, float* y, int channels, bool transposed) const {
  const long n = n_pixels();
  const float *before = before_.data(), *after = after_.data();
  if (transposed) std::swap(before, after);
  for_channels(channels, n * channels, box_scratch(width_, radius_), [&](long c, float* scratch) {
    kernels().box(height_, width_, radius_, before, after, x + c * n, y + c * n, scratch);
  });
}

Guided::Guided(int height, int width, int radius, float eps, const float* guide,
               const uint8_t* valid)
    : box_(height, width, radius, valid),
      guide_(3 * box_.n_pixels()),
      mean_(3 * box_.n_pixels()),
      inverse_(6 * box_.n_pixels()) {
  std::copy(guide, guide + 3 * n_pixels(), guide_.data());
  Array<float> scratch(box_scratch(width, radius));
  kernels().guided_statistics(height, width, radius, eps, guide_.data(), box_.before_.data(),
                              box_.after_.data(), mean_.data(), inverse_.data(), scratch.data());
}

GuidedPlan Guided::plan() const {
  return {box_.height_,  box_.width_,         box_.radius_,       guide_.data(), mean_.data(),
          inverse_.data(), box_.before_.data(), box_.after_.data()};
}

// F = G^T B M B G with G = (guide, 1) and a symmetric M at every pixel: the adjoint is the same with
// the box's, which scales before it sums.
void Guided::apply(const float* x, float* y, int channels, bool transposed) const {
  const long n = n_pixels();
  GuidedPlan plan = this->plan();
  if (transposed) std::swap(plan.before, plan.after);
  const long scratch = guided_scratch(plan.height, plan.width, plan.radius);
  for_channels(channels, n * channels, scratch, [&](long c, float* room) {
    kernels().guided(plan, x + c * n, y + c * n, room);
  });
}

void Guided::mean_field(const float* unary, int channels, float weight, int iterations,
                        float* scores) const {
  const long n = n_pixels();
  Array<float> probs(n * channels), filtered(n * channels);
  const int parts = n * channels < kSmallPlanes ? 1 : Pool::instance().size();
  auto update = [&](const float* message, float* out) {
    Pool::instance().run(parts, [&](int part) {
      const Share share(n, part, parts);
      kernels().softmax(unary, message, weight, n, channels, share.first, share.last, probs.data(),
                        out);
    });
  };
  for (int i = 0; i < iterations; ++i) {
    update(i ? filtered.data() : nullptr, nullptr);
    apply(probs.data(), filtered.data(), channels, false);
  }
  update(iterations ? filtered.data() : nullptr, scores);
}

}  // namespace segf
