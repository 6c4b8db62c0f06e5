#include "common/device/emulator_cuda.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace tactus::device::emulated {
namespace {

constexpr unsigned kMaxThreads = 1024, kLanes = 32;
constexpr size_t kStackBytes = 128 << 10;

struct Warp {
  unsigned live = 0, arrived = 0;
  uint64_t generation = 0;
  uint64_t slots[kLanes] = {};
};

// One thread of the block that runs. Its fiber lives on after the block and takes the same place in the next one.
struct Fiber {
  jmp_buf context = {};
  ucontext_t start = {};
  std::unique_ptr<char[]> stack;
  dim3 index;
  unsigned linear = 0;
  bool started = false;
  bool done = true;
};

struct Block {
  dim3 grid, size, index;
  absl::FunctionRef<void()>* body = nullptr;
  std::vector<unsigned char> shared;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<unsigned> order;     // fibers as they take turns
  std::vector<unsigned> place_of;  // of a fiber in `order`
  std::vector<Warp> warps;
  unsigned threads = 0, live = 0, arrived = 0;
  uint64_t generation = 0;
  uint64_t switches_without_progress = 0;
  Fiber* current = nullptr;
  jmp_buf host = {};
};

thread_local Block block;
thread_local uint64_t order_seed = 0;

[[noreturn]] void Die(const char* why) {
  std::fprintf(
      stderr,
      "emulated kernel: %s in block (%u, %u, %u) of (%u, %u, %u): %u of %u threads live, %u wait for the block\n", why,
      block.index.x, block.index.y, block.index.z, block.grid.x, block.grid.y, block.grid.z, block.live, block.threads,
      block.arrived);
  std::abort();
}

void Resume(Fiber* fiber) {
  block.current = fiber;
  if (fiber->started) _longjmp(fiber->context, 1);
  fiber->started = true;
  setcontext(&fiber->start);
}

// Comes back when somebody resumes `self`.
void SwitchTo(Fiber* self, Fiber* next) {
  if (_setjmp(self->context) != 0) return;
  if (next != nullptr) Resume(next);
  _longjmp(block.host, 1);
}

// The next fiber in turn that has not returned, or null.
Fiber* NextInTurn(unsigned after) {
  for (unsigned i = 1; i <= block.threads; ++i) {
    Fiber* fiber = block.fibers[block.order[(block.place_of[after] + i) % block.threads]].get();
    if (!fiber->done) return fiber;
  }
  return nullptr;
}

void Yield() {
  Fiber* self = block.current;
  if (++block.switches_without_progress > 4ull * block.threads) Die("a barrier is never complete");
  Fiber* next = NextInTurn(self->linear);
  if (next != self) SwitchTo(self, next);
}

void Progress() { block.switches_without_progress = 0; }

void ReleaseIfComplete(unsigned live, unsigned& arrived, uint64_t& generation) {
  if (live == 0 || arrived < live) return;
  arrived = 0;
  ++generation;
  Progress();
}

void Leave(Fiber* self) {
  self->done = true;
  Warp& warp = block.warps[self->linear / kLanes];
  --block.live;
  --warp.live;
  ReleaseIfComplete(block.live, block.arrived, block.generation);
  ReleaseIfComplete(warp.live, warp.arrived, warp.generation);
  Progress();
}

// A fiber runs the body once for each block, then hands on; the last one returns to the host.
void FiberLoop() {
  for (;;) {
    (*block.body)();
    Leave(block.current);
    SwitchTo(block.current, NextInTurn(block.current->linear));
  }
}

void GrowFibers(unsigned threads) {
  while (block.fibers.size() < threads) {
    block.fibers.push_back(std::make_unique<Fiber>());
    Fiber* const fiber = block.fibers.back().get();
    fiber->stack = std::make_unique_for_overwrite<char[]>(kStackBytes);
    fiber->linear = static_cast<unsigned>(block.fibers.size()) - 1;
    getcontext(&fiber->start);
    fiber->start.uc_stack.ss_sp = fiber->stack.get();
    fiber->start.uc_stack.ss_size = kStackBytes;
    fiber->start.uc_link = nullptr;
    makecontext(&fiber->start, FiberLoop, 0);
  }
}

void SetTurns(unsigned threads, std::minstd_rand& random) {
  block.order.resize(threads);
  block.place_of.resize(threads);
  std::iota(block.order.begin(), block.order.end(), 0u);
  if (order_seed != 0) std::shuffle(block.order.begin(), block.order.end(), random);
  for (unsigned i = 0; i < threads; ++i) block.place_of[block.order[i]] = i;
}

void RunBlock() {
  std::fill(block.shared.begin(), block.shared.end(), 0xff);
  block.live = block.threads;
  block.arrived = 0;
  block.warps.assign(block.threads / kLanes, Warp{.live = kLanes});
  for (unsigned i = 0; i < block.threads; ++i) {
    Fiber& fiber = *block.fibers[i];
    fiber.done = false;
    fiber.index = dim3(i % block.size.x, i / block.size.x % block.size.y, i / block.size.x / block.size.y);
  }
  Progress();
  if (_setjmp(block.host) == 0) Resume(block.fibers[block.order[0]].get());
}

}  // namespace

void SetOrder(uint64_t seed) { order_seed = seed; }

void RunGrid(dim3 grid, dim3 size, size_t shared_bytes, absl::FunctionRef<void()> body) {
  block.grid = grid;
  block.size = size;
  block.threads = size.x * size.y * size.z;
  if (block.threads == 0 || block.threads > kMaxThreads || block.threads % kLanes != 0)
    Die("the block is not 1 to 32 whole warps");
  if (block.current != nullptr) Die("a kernel starts a kernel");
  block.body = &body;
  block.shared.resize(std::max<size_t>(shared_bytes, 16));
  GrowFibers(block.threads);
  std::minstd_rand random(static_cast<unsigned>(order_seed));
  std::vector<uint64_t> blocks(uint64_t{grid.x} * grid.y * grid.z);
  std::iota(blocks.begin(), blocks.end(), uint64_t{0});
  if (order_seed != 0) std::shuffle(blocks.begin(), blocks.end(), random);
  for (const uint64_t i : blocks) {
    block.index = dim3(static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                       static_cast<unsigned>(i / grid.x / grid.y));
    SetTurns(block.threads, random);
    RunBlock();
  }
  block.current = nullptr;
}

const dim3& ThreadIndex() { return block.current->index; }
const dim3& BlockIndex() { return block.index; }
const dim3& BlockSize() { return block.size; }
const dim3& GridSize() { return block.grid; }
void* DynamicShared() { return block.shared.data(); }
int Lane() { return static_cast<int>(block.current->linear % kLanes); }

void SyncBlock() {
  const uint64_t generation = block.generation;
  ++block.arrived;
  Progress();
  ReleaseIfComplete(block.live, block.arrived, block.generation);
  while (block.generation == generation) Yield();
}

void SyncWarp() {
  Warp& warp = block.warps[block.current->linear / kLanes];
  const uint64_t generation = warp.generation;
  ++warp.arrived;
  Progress();
  ReleaseIfComplete(warp.live, warp.arrived, warp.generation);
  while (warp.generation == generation) Yield();
}

uint64_t Exchange(uint64_t mine, int from) {
  Warp& warp = block.warps[block.current->linear / kLanes];
  warp.slots[Lane()] = mine;
  SyncWarp();
  const uint64_t theirs = warp.slots[from];
  SyncWarp();
  return theirs;
}

}  // namespace tactus::device::emulated
