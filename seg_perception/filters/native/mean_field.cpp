#include "mean_field.h"

#include <algorithm>
#include <atomic>
#include <memory>

#include "pool.h"

namespace segf {
namespace {

// Rows of the transpose, padded: what one class's message does to the scores of all.
Array<float> transposed_rows(const float* matrix, int channels) {
  const int width = blocks_of(channels) * kBlock;
  Array<float> rows(std::size_t(channels) * width);
  rows.clear();
  for (int to = 0; to < channels; ++to) {
    for (int from = 0; from < channels; ++from) rows[from * width + to] = matrix[to * channels + from];
  }
  return rows;
}

class MeanField {
 public:
  MeanField(const float* unary, long n_pixels, int channels, const Kernel* terms, int n_terms,
            const float* compatibility)
      : n_(n_pixels), channels_(channels), blocks_(blocks_of(channels)), parts_(parts_for(n_)),
        rows_(std::size_t(n_) * channels + blocks_ * kBlock) {
    std::atomic<bool> finite{true};
    Pool::instance().run(parts_, [&](int part) {
      const Share share(n_, part, parts_);
      float* rows = rows_.data() + share.first * channels_;
      if (!kernels().to_rows(unary, n_, share.first, share.last, channels_, channels_, rows)) {
        finite = false;
      }
    });
    finite_ = finite;
    if (compatibility) compatibility_ = transposed_rows(compatibility, channels);
    for (int t = 0; t < n_terms; ++t) {
      matrices_.emplace_back();
      if (terms[t].matrix) matrices_[t] = transposed_rows(terms[t].matrix, channels);
      terms_.push_back({terms[t].lattice->points(), terms[t].weight, matrices_[t].data(), nullptr,
                        nullptr});
      exchanges_.emplace_back(new Exchange(*terms[t].lattice, blocks_ * kBlock, parts_));
    }
  }

  bool finite() const { return finite_; }

  void run(int iterations, float* scores) {
    for (int i = 0; i < iterations; ++i) {
      update(nullptr);
      for (std::size_t t = 0; t < terms_.size(); ++t) {
        exchanges_[t]->blur(false);
        terms_[t].values = exchanges_[t]->blurred();
      }
    }
    update(scores);
  }

 private:
  void update(float* scores) {
    Pool::instance().run(parts_, [&](int part) {
      const Share share(n_, part, parts_);
      std::vector<Term> terms = terms_;
      for (std::size_t t = 0; t < terms.size(); ++t) terms[t].sums = exchanges_[t]->sums(part);
      kernels().pass({share.first, share.last, n_, channels_, blocks_, rows_.data(),
                      compatibility_.data(), terms.data(), int(terms.size()), scores});
    });
  }

  const long n_;
  const int channels_, blocks_, parts_;
  bool finite_ = true;
  Array<float> rows_, compatibility_;
  std::vector<Array<float>> matrices_;
  std::vector<Term> terms_;
  std::vector<std::unique_ptr<Exchange>> exchanges_;
};

}  // namespace

bool mean_field(const float* unary, long n_pixels, int channels, const Kernel* terms, int n_terms,
                const float* compatibility, int iterations, float* scores) {
  MeanField field(unary, n_pixels, channels, terms, n_terms, compatibility);
  if (field.finite()) field.run(iterations, scores);
  return field.finite();
}

}  // namespace segf
