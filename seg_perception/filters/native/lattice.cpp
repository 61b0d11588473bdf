#include "lattice.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "pool.h"

namespace segf {

namespace {

constexpr long kSmallImage = 4096; // pixels below which threads cost more than they give
constexpr int kMostParts = 16;     // each holds a copy of the vertices
constexpr int kAhead = 8;          // keys whose places are asked for before they are needed

inline uint64_t hash_of(uint64_t key) {
  key ^= key >> 32;  // the last coordinates stand in the highest bits, which a product takes nowhere
  key *= 0x9E3779B97F4A7C15ull;
  return key ^ (key >> 32);
}

}  // namespace

// Numbers keys in order of appearance, from 1; keys are never 0. Open addressing, linear probing: the
// table holds numbers alone, so that it fits the second cache.
class Numbers {
 public:
  Numbers() { allocate(1 << 14); }

  std::size_t count() const { return keys_.size(); }  // and one, which stands for "none"
  uint64_t key(std::size_t number) const { return keys_[number]; }
  uint32_t find(uint64_t key) const { return slots_[place_of(key)]; }  // 0 = none
  void prefetch(uint64_t key) const { __builtin_prefetch(&slots_[hash_of(key) & mask_]); }

  uint32_t find_or_add(uint64_t key) {
    uint32_t& slot = slots_[place_of(key)];
    if (slot) return slot;
    const uint32_t fresh = slot = uint32_t(keys_.size());
    keys_.push_back(key);
    if (4 * keys_.size() > mask_) grow();
    return fresh;
  }

 private:
  // Where `key` is, or the empty slot where it belongs.
  std::size_t place_of(uint64_t key) const {
    std::size_t at = hash_of(key) & mask_;
    while (slots_[at] && keys_[slots_[at]] != key) at = (at + 1) & mask_;
    return at;
  }

  void grow() {
    allocate(2 * (mask_ + 1));
    for (std::size_t i = 1; i < keys_.size(); ++i) slots_[place_of(keys_[i])] = uint32_t(i);
  }

  void allocate(std::size_t size) {
    mask_ = size - 1;
    slots_ = Array<uint32_t>(size);
    slots_.clear();
  }

  std::vector<uint64_t> keys_{0};
  std::size_t mask_ = 0;
  Array<uint32_t> slots_;
};

namespace {

// Reads features of kLanes pixels at a time, row after row; those behind the last pixel are zero.
class Reader {
 public:
  Reader(const Features& features, long n_pixels, long first)
      : f_(features), n_(n_pixels), pixel_(first), x_(int(first % features.width)),
        y_(int(first / features.width)), per_pixel_(1.0f / features.sxy),
        per_level_(1.0f / features.srgb) {}

  void read(float* out) {
    const int n = int(std::min<long>(kLanes, n_ - pixel_));
    std::fill_n(out, f_.dims * kLanes, 0.0f);
    if (f_.planes) {
      for (int d = 0; d < f_.dims; ++d) std::copy_n(f_.planes + d * n_ + pixel_, n, out + d * kLanes);
    } else {
      read_positions(n, out);
      if (f_.image) read_colors(n, out + 2 * kLanes);
    }
    pixel_ += n;
  }

 private:
  void read_positions(int n, float* out) {
    for (int lane = 0; lane < n; ++lane) {
      out[lane] = float(x_) * per_pixel_;
      out[kLanes + lane] = float(y_) * per_pixel_;
      if (++x_ == f_.width) {
        x_ = 0;
        ++y_;
      }
    }
  }

  void read_colors(int n, float* out) {
    const uint8_t* from = f_.image + 3 * pixel_;
    for (int lane = 0; lane < n; ++lane) {
      for (int c = 0; c < 3; ++c) out[c * kLanes + lane] = float(from[3 * lane + c]) * per_level_;
    }
  }

  const Features& f_;
  const long n_;
  long pixel_;
  int x_, y_;
  const float per_pixel_, per_level_;
};

}  // namespace

int parts_for(long n_pixels) {
  return n_pixels < kSmallImage ? 1 : std::min(Pool::instance().size(), kMostParts);
}

// The vertices that one part of the image has found.
struct Lattice::Table {
  Numbers numbers;
  bool too_far = false;

  // Neighbours in the image are often in the same simplex, so that its vertices are remembered.
  struct Simplex {
    uint64_t key = 0, order = 0;
    uint32_t vertex[kMaxDims + 1];
  };
  static constexpr std::size_t kRemembered = 4096;
  std::vector<Simplex> seen{kRemembered};

  Simplex& place(uint64_t key, uint64_t order) {
    return seen[hash_of(key ^ (order << 40)) >> 52];
  }
};

Lattice::Lattice(const Features& features, const uint8_t* valid, bool symmetric)
    : axes_(features.dims + 1),
      n_(long(features.height) * features.width) {
  vertex_ = Array<uint32_t>(n_ * axes_);
  weight_ = Array<float>(n_ * axes_);
  const int parts = parts_for(n_);
  std::vector<Table> tables(parts);
  Pool::instance().run(parts, [&](int part) {
    const Share share(n_, part, parts);
    find_simplices(features, valid, tables[part], share.first, share.last);
  });
  for (const Table& table : tables) {
    if (table.too_far) throw TooFar();
  }
  join(tables);
  link(tables[0].numbers);
  normalise(symmetric);
}

void Lattice::find_simplices(const Features& features, const uint8_t* valid, Table& table,
                             long first, long last) {
  float block[kMaxDims * kLanes];
  Simplices found;
  Reader reader(features, n_, first);
  for (long start = first; start < last; start += kLanes) {
    reader.read(block);
    kernels().simplices(block, features.dims, &found);
    const int n = int(std::min<long>(kLanes, last - start));
    for (int lane = 0; lane < n; ++lane) {
      if (!valid || valid[start + lane]) enter(found, lane, start + lane, table);
      else leave_out(start + lane);
    }
  }
}

void Lattice::leave_out(long pixel) {
  std::fill_n(&vertex_[pixel * axes_], axes_, 0u);
  std::fill_n(&weight_[pixel * axes_], axes_, 0.0f);
}

void Lattice::enter(const Simplices& found, int lane, long pixel, Table& table) {
  if (found.too_far[lane]) {
    table.too_far = true;
    return leave_out(pixel);
  }
  const uint64_t key = found.key[0][lane], order = uint32_t(found.order[lane]);
  Table::Simplex& simplex = table.place(key, order);
  if (simplex.key != key || simplex.order != order) {
    simplex.key = key;
    simplex.order = order;
    for (int r = 0; r < axes_; ++r) table.numbers.prefetch(found.key[r][lane]);
    for (int r = 0; r < axes_; ++r) {
      simplex.vertex[r] = table.numbers.find_or_add(found.key[r][lane]);
    }
  }
  const int axes = axes_;  // which a store could change, for all that the compiler knows
  uint32_t* vertex = &vertex_[pixel * axes];
  float* weight = &weight_[pixel * axes];
  for (int r = 0; r < axes; ++r) {
    vertex[r] = simplex.vertex[r];
    weight[r] = found.weight[r][lane];
  }
}

// One numbering for the vertices of all parts.
void Lattice::join(std::vector<Table>& tables) {
  Numbers& all = tables[0].numbers;
  reach_.push_back(long(all.count()));
  std::vector<std::vector<uint32_t>> numbers(tables.size());
  for (std::size_t t = 1; t < tables.size(); ++t) {
    const Numbers& own = tables[t].numbers;
    numbers[t].assign(own.count(), 0);
    for (std::size_t i = 1; i < own.count(); ++i) {
      all.prefetch(own.key(std::min(i + kAhead, own.count() - 1)));
      numbers[t][i] = all.find_or_add(own.key(i));
    }
    reach_.push_back(long(all.count()));
  }
  const int parts = int(tables.size());
  Pool::instance().run(parts - 1, [&](int before) {
    const int part = before + 1;
    const Share share(n_, part, parts);
    for (long i = share.first * axes_; i < share.last * axes_; ++i) {
      vertex_[i] = numbers[part][vertex_[i]];
    }
  });
  m_ = long(all.count());
}

// Finds every vertex's neighbours along every axis. One step down an axis takes its coordinate up by
// dims and all others down by 1; the two directions are inverse, so that one search finds both.
void Lattice::link(const Numbers& all) {
  Array<uint32_t> lower(m_ * axes_), upper(m_ * axes_);
  upper.clear();
  const int dims = axes_ - 1;
  uint64_t units[kMaxDims + 1], all_units = 0;
  for (int axis = 0; axis < axes_; ++axis) all_units += units[axis] = unit_of_key(dims, axis);
  const auto below = [&](long i) {
    const uint64_t key = all.key(i);
    const bool wraps = (key & ((1 << kRemainderBits) - 1)) == 0;
    return wraps ? key - all_units + dims : key - 1;
  };
  const int parts = parts_for(n_);
  Pool::instance().run(parts, [&](int part) {
    const Share share(m_ - 1, part, parts);
    for (long i = share.first + 1; i <= share.last; ++i) {
      const uint64_t soon = below(std::min(i + long(kAhead), share.last)), base = below(i);
      for (int axis = 0; axis < axes_; ++axis) all.prefetch(soon + units[axis]);
      for (int axis = 0; axis < axes_; ++axis) {
        const uint32_t other = all.find(base + units[axis]);
        lower[axis * m_ + i] = other;
        if (other) upper[axis * m_ + other] = uint32_t(i);
      }
    }
  });
  room_ = 3 * m_ / 2;  // for pairs, each with its end
  chains_ = Array<uint32_t>(axes_ * room_);
  length_.resize(axes_);
  Pool::instance().run(axes_, [&](int axis) {
    const long at = axis * m_;
    length_[axis] = chain_up(&lower[at], &upper[at], &chains_[axis * room_]);
  });
}

// Vertices without neighbours are left out: no blur changes them. Gives the length.
long Lattice::chain_up(const uint32_t* lower, const uint32_t* upper, uint32_t* chains) const {
  uint32_t* end = chains;
  for (long i = 1; i < m_; ++i) {
    if (lower[i] || !upper[i]) continue;  // not the first of several
    for (uint32_t at = uint32_t(i); at; at = upper[at]) *end++ = at;
    *end++ = 0;
  }
  return end - chains;
}

// By the count behind the kernel, or symmetrically, which is a factor of the weights.
void Lattice::normalise(bool symmetric) {
  Array<float> ones(n_), scale(n_);
  std::fill_n(ones.data(), n_, 1.0f);
  apply(ones.data(), scale.data(), 1, false);
  const int parts = parts_for(n_);
  Pool::instance().run(parts, [&](int part) {
    const Share share(n_, part, parts);
    for (long i = share.first; i < share.last; ++i) {
      const float norm = symmetric ? std::sqrt(scale[i]) : scale[i];
      scale[i] = norm == 0.0f ? 0.0f : 1.0f / norm;
      if (!symmetric) continue;
      for (int r = 0; r < axes_; ++r) weight_[i * axes_ + r] *= scale[i];
    }
  });
  if (!symmetric) scale_ = std::move(scale);
}

void Lattice::apply(const float* x, float* y, int channels, bool transposed) const {
  constexpr int kChannels = 4 * kBlock;
  const int parts = parts_for(n_);
  Points points = this->points();
  const float* before = nullptr;
  if (transposed) std::swap(before, points.after);
  for (int c = 0; c < channels; c += kChannels) {
    const int now = std::min(kChannels, channels - c), width = row_width(now);
    Exchange exchange(*this, width, parts);
    Pool::instance().run(parts, [&](int part) {
      constexpr long kAtOnce = 256;  // pixels
      Array<float> rows(kAtOnce * width);
      const Share share(n_, part, parts);
      for (long first = share.first; first < share.last; first += kAtOnce) {
        const long last = std::min(first + kAtOnce, share.last);
        kernels().to_rows(x + c * n_, n_, first, last, now, width, rows.data());
        kernels().splat(points, before, first, last, width, rows.data(), exchange.sums(part));
      }
    });
    exchange.blur(transposed);
    Pool::instance().run(parts, [&](int part) {
      const Share share(n_, part, parts);
      kernels().slice(points, share.first, share.last, n_, now, exchange.blurred(), y + c * n_);
    });
  }
}

void Lattice::blur(int axis, int width, float* values) const {
  const uint32_t* chains = &chains_[axis * room_];
  const int parts = parts_for(n_);
  // A share begins behind the end of a chain.
  const auto begin = [&](int part) {
    long at = Share(length_[axis], part, parts).first;
    while (at > 0 && at < length_[axis] && chains[at - 1]) ++at;
    return chains + at;
  };
  Pool::instance().run(parts, [&](int part) {
    kernels().blur(begin(part), begin(part + 1), width, values);
  });
}

Exchange::Exchange(const Lattice& lattice, int width, int parts)
    : lattice_(lattice), width_(width) {
  const std::size_t size = std::size_t(lattice.m_) * width;
  for (int part = 0; part < parts; ++part) sums_.emplace_back(size);
  blurred_ = Array<float>(size);
  Pool::instance().run(parts, [&](int part) { sums_[part].clear(); });
}

void Exchange::blur(bool reverse) {
  const int parts = int(sums_.size()), axes = lattice_.axes_;
  const auto touched = [&](int part) { return lattice_.reach(part, parts) * width_; };
  Pool::instance().run(parts, [&](int part) {
    const Share share(parts > 1 ? touched(parts - 2) : 0, part, parts);
    float* total = sums_.back().data();
    for (int k = 0; k + 1 < parts; ++k) {
      float* more = sums_[k].data();
      const long last = std::min(share.last, touched(k));
      for (long i = share.first; i < last; ++i) total[i] += more[i];
      std::fill(more + share.first, more + std::max(share.first, last), 0.0f);
    }
    const Share all(lattice_.m_ * width_, part, parts);
    std::fill(&blurred_[all.first], &blurred_[all.last], 0.0f);
  });
  std::swap(sums_.back(), blurred_);
  for (int step = 0; step < axes; ++step) {
    lattice_.blur(reverse ? axes - 1 - step : step, width_, blurred_.data());
  }
}

}  // namespace segf
