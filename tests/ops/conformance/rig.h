// A backend with host arrays on both sides of it: what the conformance suite runs on. Numbers that go in are rounded to
// the storage type first, so that every backend is given the same ones exactly.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "common/ops/cpu/backend_cpu.h"
#include "common/ops/cuda/backend_cuda.h"
#include "gtest/gtest.h"
#include "tests/device/need_gpu.h"
#include "tests/ops/cuda/device_array.h"
#include "tests/ops/reference.h"
#include "tests/ops/slopes.h"

namespace tactus::ops {

template <typename B>
class Memory;

template <>
class Memory<CpuBackend> {
 public:
  static CpuBackend Make(StorageDType dtype) { return CpuBackend(dtype); }
  float* Rows(const std::vector<float>& values, StorageDType) { return Keep(floats_, values); }
  float* Floats(const std::vector<float>& values) { return Keep(floats_, values); }
  int32_t* Ints(const std::vector<int32_t>& values) { return Keep(ints_, values); }
  CpuBackend::Matrix Matrix(const std::vector<float>& w, int64_t columns, int64_t depth, StorageDType dtype) {
    const PanelType type = dtype == StorageDType::kFloat32 ? PanelType::kFloat32 : PanelType::kBFloat16;
    CpuBackend::Matrix matrix{PackedMatrix(depth, columns, type), PackedMatrix(columns, depth, type)};
    matrix.forward.PackTransposed(w.data(), columns, 0);
    matrix.backward.PackRows(w.data(), columns, 0, depth);
    return matrix;
  }
  static KvCacheCpu Cache(const AttentionShape& shape, StorageDType dtype, int64_t pages) {
    return KvCacheCpu(shape, dtype, 1, pages);
  }
  static std::vector<float> Read(const float* rows, size_t count, StorageDType) { return {rows, rows + count}; }
  static std::vector<float> ReadFloats(const float* values, size_t count) { return {values, values + count}; }
  // Half the distance of stored numbers around 1.
  static double Roundoff(StorageDType) { return 0x1p-24; }

  CpuBackend::PagedBatch Paged(const std::vector<int32_t>& tokens, std::span<const SequenceRun> runs,
                               const RotaryRows& rotary) {
    return {.num_rows = static_cast<int64_t>(tokens.size()), .token_ids = Ints(tokens), .rotary = rotary, .runs = runs};
  }

 private:
  template <typename T>
  static T* Keep(std::vector<std::vector<T>>& arrays, const std::vector<T>& values) {
    return arrays.emplace_back(values).data();
  }
  std::vector<std::vector<float>> floats_;
  std::vector<std::vector<int32_t>> ints_;
};

template <>
class Memory<CudaBackend> {
 public:
  static CudaBackend Make(StorageDType dtype) { return CudaBackend(dtype, 0); }
  void* Rows(const std::vector<float>& values, StorageDType dtype) {
    if (dtype == StorageDType::kFloat32) return Floats(values);
    std::vector<c10::BFloat16> rounded;
    for (const float value : values) rounded.push_back(static_cast<c10::BFloat16>(value));
    return halves_.emplace_back(rounded).get();
  }
  float* Floats(const std::vector<float>& values) { return floats_.emplace_back(values).get(); }
  int32_t* Ints(const std::vector<int32_t>& values) { return ints_.emplace_back(values).get(); }
  CudaBackend::Matrix Matrix(const std::vector<float>& w, int64_t columns, int64_t depth, StorageDType dtype) {
    return {.data = Rows(w, dtype), .columns = columns, .depth = depth};
  }
  static KvCacheCuda Cache(const AttentionShape& shape, StorageDType dtype, int64_t pages) {
    return KvCacheCuda(shape, dtype, 1, pages, 0);
  }
  static std::vector<float> Read(const void* rows, size_t count, StorageDType dtype) {
    if (dtype == StorageDType::kFloat32) return ReadFloats(static_cast<const float*>(rows), count);
    std::vector<c10::BFloat16> values(count);
    device::CopyAsync(values.data(), rows, count * sizeof(c10::BFloat16));
    device::Synchronize();
    return {values.begin(), values.end()};
  }
  static std::vector<float> ReadFloats(const float* from, size_t count) {
    std::vector<float> values(count);
    device::CopyAsync(values.data(), from, count * sizeof(float));
    device::Synchronize();
    return values;
  }
  static double Roundoff(StorageDType dtype) { return dtype == StorageDType::kFloat32 ? 0x1p-24 : 0x1p-8; }

  // Every row as a decode row; tests of the actor's engine cover runs.
  CudaBackend::PagedBatch Paged(const std::vector<int32_t>& tokens, std::span<const SequenceRun> runs,
                                const RotaryRows& rotary) {
    size_t table_pages = 1;
    for (const SequenceRun& run : runs) table_pages = std::max(table_pages, run.page_table.size());
    std::vector<int32_t> slots, contexts, index, tables;
    for (const SequenceRun& run : runs) {
      for (int64_t r = 0; r < run.num_rows; ++r) {
        const int64_t position = run.start_position + r;
        index.push_back(static_cast<int32_t>(slots.size()));
        contexts.push_back(static_cast<int32_t>(position + 1));
        slots.push_back(run.page_table[static_cast<size_t>(position / kPageTokens)] * kPageTokens +
                        static_cast<int32_t>(position % kPageTokens));
        tables.insert(tables.end(), run.page_table.begin(), run.page_table.end());
        tables.resize(slots.size() * table_pages);
      }
    }
    const int64_t rows = static_cast<int64_t>(tokens.size());
    return {.num_rows = rows,
            .decode_rows = rows,
            .token_ids = Ints(tokens),
            .rotary = rotary,
            .slots = Ints(slots),
            .contexts = Ints(contexts),
            .table_index = Ints(index),
            .page_tables = Ints(tables),
            .table_pages = static_cast<int64_t>(table_pages)};
  }

 private:
  std::vector<cuda::DeviceArray<float>> floats_;
  std::vector<cuda::DeviceArray<c10::BFloat16>> halves_;
  std::vector<cuda::DeviceArray<int32_t>> ints_;
};

template <typename Backend, StorageDType kDtype>
struct Case {
  using B = Backend;
  static constexpr StorageDType dtype = kDtype;
};
using Cases = testing::Types<Case<CpuBackend, StorageDType::kFloat32>, Case<CpuBackend, StorageDType::kBFloat16>,
                             Case<CudaBackend, StorageDType::kFloat32>, Case<CudaBackend, StorageDType::kBFloat16>>;

template <typename C>
class ConformanceTest : public testing::Test {
 public:
  using B = typename C::B;
  using ConstRows = typename B::ConstRows;
  static constexpr StorageDType dtype = C::dtype;

  void SetUp() override {
    if constexpr (std::is_same_v<B, CudaBackend>) NEED_GPU();
  }

  // Random numbers of the storage type.
  static std::vector<float> Random(int64_t count, uint64_t seed, float scale = 1.0f) {
    std::vector<float> values = RandomFloats(count, seed, scale);
    for (float& value : values) value = Rounded(value, dtype);
    return values;
  }
  auto Rows(const std::vector<float>& values) { return memory.Rows(values, dtype); }
  // Of what lies past the rows nothing is asked: NaNs there would show.
  auto Empty(int64_t count) { return Rows(std::vector<float>(static_cast<size_t>(count), std::nanf(""))); }
  float* EmptyFloats(int64_t count) {
    return memory.Floats(std::vector<float>(static_cast<size_t>(count), std::nanf("")));
  }

  // Within `error` (float32 arithmetic), and one rounding to what is stored.
  static void ExpectFloats(const float* actual, const Doubles& expected, double error, const char* what) {
    const std::vector<float> values = Memory<B>::ReadFloats(actual, expected.size());
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(values[i], expected[i], error * std::max(1.0, std::abs(expected[i]))) << what << " at " << i;
  }
  static void ExpectRows(ConstRows actual, const Doubles& expected, double error, const char* what) {
    const std::vector<float> values = Memory<B>::Read(actual, expected.size(), dtype);
    const double rounding = Memory<B>::Roundoff(dtype);
    for (size_t i = 0; i < expected.size(); ++i) {
      const double size = std::abs(expected[i]);
      ASSERT_NEAR(values[i], expected[i], error * std::max(1.0, size) + rounding * (size + error))
          << what << " at " << i;
    }
  }

  Memory<B> memory;
  B b = Memory<B>::Make(dtype);
};

}  // namespace tactus::ops
