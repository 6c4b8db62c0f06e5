// Zeroed, 64-byte aligned memory for kernels; large ones ask for huge pages (they halve the cost of streaming weights).
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace tactus::ops {

// Owns an array of a trivial type. Movable, not copyable. Not thread-safe.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t count) : size_(count) {
    constexpr size_t kHugePage = size_t{2} << 20;
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
    const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    if (rounded == 0) return;
    void* memory = std::aligned_alloc(alignment, rounded);
    if (memory == nullptr) throw std::bad_alloc();
    if (alignment == kHugePage) ::madvise(memory, rounded, MADV_HUGEPAGE);
    std::memset(memory, 0, rounded);
    data_.reset(static_cast<T*>(memory));
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  int64_t size() const { return size_; }
  T& operator[](int64_t i) { return data_.get()[i]; }
  const T& operator[](int64_t i) const { return data_.get()[i]; }

  // Makes room for `count` elements, losing the content when it must grow. Grows by a quarter at least, so that scratch
  // of varying size settles soon.
  void Reserve(int64_t count) {
    if (count <= size_) return;
    const int64_t grown = count > size_ + size_ / 4 ? count : size_ + size_ / 4;
    *this = Buffer();  // the old memory first: the two need never exist together
    *this = Buffer(grown);
  }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  int64_t size_ = 0;
};

}  // namespace tactus::ops
