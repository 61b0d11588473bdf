// Large arrays without the price of fresh pages: blocks are kept for the next frame.
#pragma once

#include <cstddef>
#include <cstring>

namespace segf {

void* take_block(std::size_t bytes);  // 64-byte aligned, contents undefined; throws std::bad_alloc
void give_block(void* block) noexcept;

template <typename T>
class Array {
 public:
  Array() = default;
  explicit Array(std::size_t size)
      : data_(static_cast<T*>(take_block(size * sizeof(T)))), size_(size) {}
  Array(Array&& other) noexcept : data_(other.data_), size_(other.size_) {
    other.data_ = nullptr;
    other.size_ = 0;
  }
  Array& operator=(Array&& other) noexcept {
    T* data = data_;
    const std::size_t size = size_;
    data_ = other.data_;
    size_ = other.size_;
    other.data_ = data;
    other.size_ = size;
    return *this;
  }
  ~Array() { give_block(data_); }

  void clear() { std::memset(static_cast<void*>(data_), 0, size_ * sizeof(T)); }
  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace segf
