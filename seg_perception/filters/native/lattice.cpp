#include "lattice.h"

#include <algorithm>
#include <cmath>

#include "pool.h"

namespace segf {
namespace {

constexpr int kRemainderBits = 3;  // remainders 0 ... kMaxDims
constexpr int64_t kExact = 1 << 21; // quotients up to which rounding in float32 is exact
constexpr long kSmallImage = 4096; // pixels below which threads cost more than they give
constexpr int kMostParts = 16;     // each holds a copy of the vertices

inline uint64_t hash_of(uint64_t key) {
  key ^= key >> 32;  // the last coordinates stand in the highest bits, which a product takes nowhere
  key *= 0x9E3779B97F4A7C15ull;
  return key ^ (key >> 32);
}

// Numbers of keys. Open addressing, linear probing; keys are never 0.
class Slots {
 public:
  explicit Slots(std::size_t expected) { allocate(expected); }

  // The number of `key`, which becomes `fresh` if it was not there.
  uint32_t find_or_add(uint64_t key, uint32_t fresh) {
    Slot& slot = slots_[place_of(key)];
    if (slot.key == 0) slot = {key, fresh};
    return slot.number;
  }

  uint32_t find(uint64_t key) const { return slots_[place_of(key)].number; }  // 0 = none

  bool full(std::size_t count) const { return 2 * count > mask_; }

  void grow(const std::vector<uint64_t>& keys) {
    allocate(2 * (mask_ + 1));
    for (std::size_t i = 1; i < keys.size(); ++i) find_or_add(keys[i], uint32_t(i));
  }

 private:
  struct Slot {
    uint64_t key;
    uint32_t number;
  };

  // Where `key` is, or the empty slot where it belongs.
  std::size_t place_of(uint64_t key) const {
    std::size_t at = hash_of(key) & mask_;
    while (slots_[at].key != key && slots_[at].key != 0) at = (at + 1) & mask_;
    return at;
  }

  void allocate(std::size_t expected) {
    std::size_t size = 1024;
    while (size < 2 * expected) size *= 2;
    mask_ = size - 1;
    slots_ = Array<Slot>(size);
    slots_.clear();
  }

  std::size_t mask_ = 0;
  Array<Slot> slots_;
};

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

// The vertices that one part of the image has found, in order of appearance. Number 0 is "none".
struct Lattice::Table {
  std::vector<uint64_t> keys{0};
  Slots slots{1 << 14};
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

  // Vertex r of a simplex differs from vertex r - 1 by one step down in the coordinate of one rank.
  void number_vertices(Simplex& simplex, const Simplices& found, int lane, int dims, int bits) {
    uint64_t unit_of_rank[kMaxDims + 1];
    for (int i = 0; i < dims; ++i) {
      unit_of_rank[found.rank[i][lane]] = uint64_t(1) << (kRemainderBits + i * bits);
    }
    unit_of_rank[found.rank[dims][lane]] = 0;  // the last coordinate is implied by the others
    uint64_t key = simplex.key;
    for (int r = 0; r <= dims; ++r) {
      if (r) key += 1 - unit_of_rank[dims + 1 - r];
      simplex.vertex[r] = number(key);
    }
  }

  uint32_t number(uint64_t key) {
    const uint32_t fresh = uint32_t(keys.size());
    const uint32_t found = slots.find_or_add(key, fresh);
    if (found == fresh) {
      keys.push_back(key);
      if (slots.full(keys.size())) slots.grow(keys);
    }
    return found;
  }
};

Lattice::Lattice(const Features& features, const uint8_t* valid, bool symmetric)
    : axes_(features.dims + 1),
      bits_((64 - kRemainderBits) / features.dims),
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
  link(tables[0]);
  normalise(valid, symmetric);
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
  const int dims = axes_ - 1;
  const int64_t middle = int64_t(1) << (bits_ - 1), reach = std::min(middle, kExact) - 2;
  uint64_t key = 0, order = 1;
  for (int i = 0; i <= dims; ++i) {
    const int64_t quotient = found.quotient[i][lane];
    if (quotient < -reach || quotient > reach) {  // ranks mean nothing there
      table.too_far = true;
      return leave_out(pixel);
    }
    if (i < dims) key |= uint64_t(quotient + middle) << (kRemainderBits + i * bits_);
    order = order << 3 | uint64_t(found.rank[i][lane]);
  }
  Table::Simplex& simplex = table.place(key, order);
  if (simplex.key != key || simplex.order != order) {
    simplex.key = key;
    simplex.order = order;
    table.number_vertices(simplex, found, lane, dims, bits_);
  }
  for (int r = 0; r < axes_; ++r) {
    vertex_[pixel * axes_ + r] = simplex.vertex[r];
    weight_[pixel * axes_ + r] = found.weight[r][lane];
  }
}

// One numbering for the vertices of all parts.
void Lattice::join(std::vector<Table>& tables) {
  Table& all = tables[0];
  std::vector<std::vector<uint32_t>> numbers(tables.size());
  for (std::size_t t = 1; t < tables.size(); ++t) {
    numbers[t].assign(tables[t].keys.size(), 0);
    for (std::size_t i = 1; i < tables[t].keys.size(); ++i) {
      numbers[t][i] = all.number(tables[t].keys[i]);
    }
  }
  const int parts = int(tables.size());
  Pool::instance().run(parts - 1, [&](int before) {
    const int part = before + 1;
    const Share share(n_, part, parts);
    for (long i = share.first * axes_; i < share.last * axes_; ++i) {
      vertex_[i] = numbers[part][vertex_[i]];
    }
  });
  m_ = long(all.keys.size());
}

// Every vertex's two neighbours along every axis. One step down an axis takes its coordinate up by
// dims and all others down by 1; the two directions are inverse, so that one search finds both.
void Lattice::link(const Table& all) {
  lower_ = Array<uint32_t>(m_ * axes_);
  upper_ = Array<uint32_t>(m_ * axes_);
  upper_.clear();
  const int dims = axes_ - 1;
  uint64_t every = 0;
  for (int i = 0; i < dims; ++i) every += uint64_t(1) << (kRemainderBits + i * bits_);
  const int parts = parts_for(n_);
  Pool::instance().run(parts, [&](int part) {
    const Share share(m_ - 1, part, parts);
    for (long i = share.first + 1; i <= share.last; ++i) {
      const uint64_t key = all.keys[i];
      const bool wraps = (key & ((1 << kRemainderBits) - 1)) == 0;
      const uint64_t base = wraps ? key - every + dims : key - 1;
      for (int axis = 0; axis < axes_; ++axis) {
        const uint64_t unit = axis < dims ? uint64_t(1) << (kRemainderBits + axis * bits_) : 0;
        const uint32_t other = all.slots.find(base + unit);
        lower_[axis * m_ + i] = other;
        if (other) upper_[axis * m_ + other] = uint32_t(i);
      }
    }
  });
  for (int axis = 0; axis < axes_; ++axis) lower_[axis * m_] = 0;
}

void Lattice::normalise(const uint8_t* valid, bool symmetric) {
  before_ = Array<float>(n_);
  after_ = Array<float>(n_);
  const int parts = parts_for(n_);
  auto for_pixels = [&](auto each) {
    Pool::instance().run(parts, [&](int part) {
      const Share share(n_, part, parts);
      for (long i = share.first; i < share.last; ++i) each(i);
    });
  };
  for_pixels([&](long i) { before_[i] = after_[i] = !valid || valid[i] ? 1.0f : 0.0f; });
  Array<float> norm(n_);
  apply(before_.data(), norm.data(), 1, false);
  for_pixels([&](long i) {
    if (before_[i] == 0.0f) return;
    after_[i] = symmetric ? 1.0f / std::sqrt(norm[i]) : 1.0f / norm[i];
    if (symmetric) before_[i] = after_[i];
  });
}

Points Lattice::points() const {
  return {axes_, vertex_.data(), weight_.data(), before_.data(), after_.data()};
}

void Lattice::apply(const float* x, float* y, int channels, bool transposed) const {
  constexpr int kChannels = 4 * kBlock;
  const int parts = parts_for(n_);
  Points points = this->points();
  if (transposed) std::swap(points.before, points.after);
  for (int c = 0; c < channels; c += kChannels) {
    const int now = std::min(kChannels, channels - c), blocks = blocks_of(now);
    Exchange exchange(*this, blocks, parts);
    Pool::instance().run(parts, [&](int part) {
      constexpr long kAtOnce = 256;  // pixels
      Array<float> rows(kAtOnce * blocks * kBlock);
      const Share share(n_, part, parts);
      for (long first = share.first; first < share.last; first += kAtOnce) {
        const long last = std::min(first + kAtOnce, share.last);
        kernels().to_rows(x + c * n_, n_, first, last, now, 0.0f, rows.data());
        kernels().splat(points, first, last, blocks, rows.data(), exchange.sums(part));
      }
    });
    exchange.blur(transposed);
    Pool::instance().run(parts, [&](int part) {
      const Share share(n_, part, parts);
      kernels().slice(points, share.first, share.last, n_, now, exchange.blurred(), y + c * n_);
    });
  }
}

Exchange::Exchange(const Lattice& lattice, int blocks, int parts)
    : lattice_(lattice), blocks_(blocks) {
  const std::size_t size = std::size_t(lattice.m_) * blocks * kBlock;
  for (int part = 0; part < parts; ++part) {
    sums_.emplace_back(size);
    sums_.back().clear();
  }
  first_ = Array<float>(size);
  second_ = Array<float>(size);
}

void Exchange::blur(bool reverse) {
  const int parts = int(sums_.size()), axes = lattice_.axes_;
  const long m = lattice_.m_, width = long(blocks_) * kBlock;
  Pool& pool = Pool::instance();
  pool.run(parts, [&](int part) {
    const Share share(m * width, part, parts);
    float* total = first_.data();
    std::copy(sums_[0].data() + share.first, sums_[0].data() + share.last, total + share.first);
    for (int k = 1; k < parts; ++k) {
      const float* more = sums_[k].data();
      for (long i = share.first; i < share.last; ++i) total[i] += more[i];
    }
    for (int k = 0; k < parts; ++k) {
      std::fill(sums_[k].data() + share.first, sums_[k].data() + share.last, 0.0f);
    }
  });
  float *from = first_.data(), *to = second_.data();
  for (int step = 0; step < axes; ++step) {
    const long axis = reverse ? axes - 1 - step : step;
    pool.run(parts, [&](int part) {
      const Share share(m, part, parts);
      kernels().blur(&lattice_.lower_[axis * m], &lattice_.upper_[axis * m], share.first,
                     share.last, blocks_, from, to);
    });
    std::swap(from, to);
  }
  from_ = from;
}

}  // namespace segf
