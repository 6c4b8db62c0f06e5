#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "common/device/kernel_cuda.h"
#include "common/device/runtime_cuda.h"

namespace tactus::device {
namespace {

// Block sums by warp shuffles, then through shared memory.
__global__ void BlockSum(const float* in, int n, float* out) {
  float* partial = SharedMemory<float>();
  float sum = 0;
  for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < n;
       i += static_cast<int>(gridDim.x * blockDim.x))
    sum += in[i];
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(kFullMask, sum, offset);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0;
    for (unsigned w = 0; w < blockDim.x / 32; ++w) total += partial[w];
    out[blockIdx.x] = total;
  }
}

// Reads a neighbour's shared element; the barrier is left out on purpose where `with_barrier` is false.
__global__ void Rotate(const int* in, int* out, bool with_barrier) {
  int* shared = SharedMemory<int>();
  shared[threadIdx.x] = in[threadIdx.x];
  if (with_barrier) __syncthreads();
  out[threadIdx.x] = shared[(threadIdx.x + blockDim.x - 1) % blockDim.x];
}

__global__ void BarrierInOneBranch() {
  if (threadIdx.x < 16) {
    __syncwarp();
  } else {
    __syncthreads();
  }
}

__global__ void EarlyReturn(int* out) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}

__global__ void Increment(int* value) {
  if (threadIdx.x == 0) *value += 1;
}

class KernelTest : public testing::Test {
 protected:
  void TearDown() override { emulated::SetOrder(0); }
};

TEST_F(KernelTest, BlockSumsAreRightInEveryOrder) {
  std::vector<float> in(1000);
  std::iota(in.begin(), in.end(), 1.0f);
  for (const uint64_t order : {0, 1, 2, 3}) {
    emulated::SetOrder(order);
    std::vector<float> out(3);
    Launch(BlockSum, dim3(3), dim3(128), 4 * sizeof(float), in.data(), 1000, out.data());
    EXPECT_EQ(out[0] + out[1] + out[2], 500500.0f);
    EXPECT_NE(out[0], out[1]);
  }
}

TEST_F(KernelTest, AnotherOrderShowsAMissingBarrier) {
  std::vector<int> in(64), right(64);
  std::iota(in.begin(), in.end(), 0);
  for (int i = 0; i < 64; ++i) right[static_cast<size_t>((i + 1) % 64)] = i;
  bool seen = false;
  for (const uint64_t order : {1, 2, 3}) {
    emulated::SetOrder(order);
    std::vector<int> with(64), without(64);
    Launch(Rotate, dim3(1), dim3(64), 64 * sizeof(int), in.data(), with.data(), true);
    Launch(Rotate, dim3(1), dim3(64), 64 * sizeof(int), in.data(), without.data(), false);
    EXPECT_EQ(with, right);
    seen = seen || without != right;
  }
  EXPECT_TRUE(seen);
}

TEST_F(KernelTest, ThreadsThatReturnedAreNotWaitedFor) {
  std::vector<int> out(64);
  Launch(EarlyReturn, dim3(1), dim3(64), 0, out.data());
  EXPECT_EQ(std::accumulate(out.begin(), out.end(), 0), 40);
}

TEST_F(KernelTest, ABarrierThatIsNeverCompleteEndsTheProcess) {
  EXPECT_DEATH(Launch(BarrierInOneBranch, dim3(1), dim3(64), 0), "a barrier is never complete in block \\(0, 0, 0\\)");
}

TEST_F(KernelTest, ABlockOfPartOfAWarpIsRefused) {
  int value = 0;
  EXPECT_DEATH(Launch(Increment, dim3(1), dim3(33), 0, &value), "not 1 to 32 whole warps");
}

TEST_F(KernelTest, AGraphRunsWhenItIsLaunchedAndOnlyThen) {
  at::Tensor value = DeviceEmpty(0, {1}, at::kInt), copy = DeviceEmpty(0, {1}, at::kInt);
  int* const v = value.data_ptr<int>();
  ZeroAsync(v, sizeof(int));
  Graph graph;
  EXPECT_FALSE(graph.recorded());
  EXPECT_THROW(graph.Launch(), std::logic_error);
  graph.Record([&] {
    Launch(Increment, dim3(1), dim3(32), 0, v);
    Launch(Increment, dim3(1), dim3(32), 0, v);
    CopyAsync(copy.data_ptr<int>(), v, sizeof(int));
  });
  Synchronize();
  EXPECT_EQ(*v, 0);
  graph.Launch();
  graph.Launch();
  Synchronize();
  EXPECT_EQ(*v, 4);
  EXPECT_EQ(*copy.data_ptr<int>(), 4);
}

TEST_F(KernelTest, WaitingOrAllocatingWhileAGraphIsRecordedIsRefused) {
  Graph graph;
  EXPECT_THROW(graph.Record([] { Synchronize(); }), std::logic_error);
  EXPECT_THROW(graph.Record([] { DeviceEmpty(0, {4}, at::kFloat); }), std::logic_error);
  EXPECT_FALSE(graph.recorded());
  graph.Record([] {});
  EXPECT_TRUE(graph.recorded());
}

TEST_F(KernelTest, EveryWaitIsCounted) {
  const int64_t before = SynchronizeCount();
  Synchronize();
  EXPECT_EQ(SynchronizeCount(), before + 1);
}

}  // namespace
}  // namespace tactus::device
