#include "memory.h"

#include <cstdlib>
#include <mutex>
#include <new>

namespace segf {
namespace {

constexpr std::size_t kAlign = 64;
constexpr std::size_t kKept = 24;       // blocks kept at most
constexpr std::size_t kSmall = 1 << 16; // below, malloc reuses memory well enough by itself

struct Header {
  std::size_t bytes;
};

std::mutex mutex;
Header* kept[kKept];
std::size_t n_kept = 0;

Header* header_of(void* block) {
  return reinterpret_cast<Header*>(static_cast<char*>(block) - kAlign);
}

// The smallest kept block that holds `bytes` without wasting more than as much again.
Header* reuse(std::size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex);
  std::size_t best = n_kept;
  for (std::size_t i = 0; i < n_kept; ++i) {
    const std::size_t size = kept[i]->bytes;
    if (size < bytes || size > 2 * bytes) continue;
    if (best == n_kept || size < kept[best]->bytes) best = i;
  }
  if (best == n_kept) return nullptr;
  Header* found = kept[best];
  kept[best] = kept[--n_kept];
  return found;
}

}  // namespace

void* take_block(std::size_t bytes) {
  Header* header = bytes >= kSmall ? reuse(bytes) : nullptr;
  if (!header) {
    const std::size_t whole = (bytes + 2 * kAlign - 1) / kAlign * kAlign + kAlign;
    header = static_cast<Header*>(std::aligned_alloc(kAlign, whole));
    if (!header) throw std::bad_alloc();
    header->bytes = bytes;
  }
  return reinterpret_cast<char*>(header) + kAlign;
}

void give_block(void* block) noexcept {
  if (!block) return;
  Header* header = header_of(block);
  Header* leaving = header;
  if (header->bytes >= kSmall) {
    std::lock_guard<std::mutex> lock(mutex);
    if (n_kept < kKept) {
      kept[n_kept++] = header;
      leaving = nullptr;
    } else {  // the oldest goes
      leaving = kept[0];
      for (std::size_t i = 1; i < kKept; ++i) kept[i - 1] = kept[i];
      kept[kKept - 1] = header;
    }
  }
  std::free(leaving);
}

}  // namespace segf
