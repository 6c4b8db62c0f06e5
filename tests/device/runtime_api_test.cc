// What runtime_cuda.cc asks of CUDA, call by call, against a stub of its library: streams, order, failures, and which
// device is current when something is given back.
#include <c10/core/Allocator.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "common/device/runtime_cuda.h"
#include "tests/device/api_stub_cuda.h"

namespace tactus::device {
namespace {

using api_stub::Call;
using api_stub::Calls;
using ::testing::HasSubstr;

std::string WhatIsThrown(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "nothing";
}

class RuntimeApiTest : public testing::Test {
 protected:
  void SetUp() override { api_stub::Reset(); }
};

// torch's streams do not wait for the legacy one: what that zeroes may come after what they copy.
TEST_F(RuntimeApiTest, ExportedMemoryIsZeroedInTheQueueThatFillsIt) {
  const QueueGuard guard(0);
  const ExportedMemory memory(0, 64);
  const char weights[64] = {};
  CopyAsync(memory.data(), weights, sizeof weights);
  EXPECT_TRUE(Calls("cudaMemset").empty());
  ASSERT_EQ(Calls("cudaMemsetAsync").size(), 1u);
  ASSERT_EQ(Calls("cudaMemcpyAsync").size(), 1u);
  const Call zero = Calls("cudaMemsetAsync")[0], copy = Calls("cudaMemcpyAsync")[0];
  EXPECT_EQ(zero.object, copy.object);
  EXPECT_EQ(zero.stream, copy.stream);
  EXPECT_NE(zero.stream, nullptr);
}

TEST_F(RuntimeApiTest, NothingGoesToTheLegacyStream) {
  const QueueGuard guard(1);
  {
    const ExportedMemory memory(1, 64);
    const ImportedMemory other(1, memory.handle());
    char host[8] = {};
    CopyAsync(memory.data(), host, sizeof host);
    ZeroAsync(memory.data(), sizeof host);
    Event event;
    event.Record();
    event.WaitFor();
    Graph graph;
    graph.Record([&] { ZeroAsync(memory.data(), sizeof host); });
    graph.Launch();
    Synchronize();
  }
  for (const char* name : {"cudaMemset", "cudaMemcpy"}) EXPECT_TRUE(Calls(name).empty()) << name;
  for (const char* name : {"cudaMemsetAsync", "cudaMemcpyAsync", "cudaEventRecord", "cudaStreamWaitEvent",
                           "cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphLaunch"}) {
    EXPECT_FALSE(Calls(name).empty()) << name;
    for (const Call& call : Calls(name)) EXPECT_NE(call.stream, nullptr) << name;
  }
}

// They may be dropped on any thread, where another device is current.
TEST_F(RuntimeApiTest, WhatIsGivenBackIsGivenBackOnItsDevice) {
  std::optional<ExportedMemory> exported;
  std::optional<ImportedMemory> imported;
  std::optional<Event> event;
  std::optional<Graph> graph;
  {
    const QueueGuard guard(1);
    exported.emplace(1, 64);
    imported.emplace(1, exported->handle());
    event.emplace().Record();
    graph.emplace().Record([] {});
  }
  std::thread([&] {
    graph.reset();
    event.reset();
    imported.reset();
    exported.reset();
  }).join();
  for (const char* name : {"cudaFree", "cudaIpcCloseMemHandle", "cudaEventDestroy", "cudaGraphExecDestroy"}) {
    ASSERT_EQ(Calls(name).size(), 1u) << name;
    EXPECT_EQ(Calls(name)[0].device, 1) << name;
  }
}

TEST_F(RuntimeApiTest, AGraphIsCapturedOnceAndLaunchedOnTheQueue) {
  const QueueGuard guard(0);
  char memory[8] = {};
  Graph graph;
  EXPECT_THROW(graph.Launch(), std::logic_error);
  graph.Record([&] { ZeroAsync(memory, sizeof memory); });
  graph.Launch();
  graph.Launch();
  std::vector<std::string> names;
  for (const Call& call : Calls()) names.push_back(call.name);
  EXPECT_THAT(names, testing::IsSupersetOf({"cudaStreamBeginCapture", "cudaMemsetAsync", "cudaStreamEndCapture",
                                            "cudaGraphInstantiate", "cudaGraphDestroy", "cudaGraphLaunch"}));
  EXPECT_EQ(Calls("cudaGraphLaunch").size(), 2u);
  EXPECT_EQ(Calls("cudaGraphLaunch")[0].object, Calls("cudaGraphInstantiate")[0].object);
  EXPECT_EQ(Calls("cudaGraphLaunch")[0].stream, Calls("cudaStreamBeginCapture")[0].stream);
  EXPECT_EQ(Calls("cudaGraphDestroy")[0].object, Calls("cudaStreamEndCapture")[0].object);
}

// Whatever fails, the capture is over, nothing of it is left, and the next call is not blamed.
TEST_F(RuntimeApiTest, AFailedRecordingLeavesTheQueueAsItWas) {
  const QueueGuard guard(0);
  const auto record_failing = [](const char* name) {
    api_stub::Fail(name);
    Graph graph;
    const std::string what = WhatIsThrown([&] { graph.Record([] {}); });
    EXPECT_FALSE(graph.recorded()) << name;
    EXPECT_FALSE(api_stub::ErrorIsPending()) << name;
    EXPECT_EQ(Calls("cudaStreamEndCapture").size(), Calls("cudaStreamBeginCapture").size()) << name;
    EXPECT_TRUE(Calls("cudaGraphExecDestroy").empty()) << name;
    api_stub::Reset();
    return what;
  };
  EXPECT_THAT(record_failing("cudaStreamEndCapture"), HasSubstr("a graph can't be recorded: the stub refuses"));
  EXPECT_THAT(record_failing("cudaGraphInstantiate"),
              HasSubstr("a recorded graph can't be launched: the stub refuses"));

  Graph graph;
  EXPECT_EQ(WhatIsThrown([&] { graph.Record([] { throw std::runtime_error("no kernel"); }); }), "no kernel");
  EXPECT_EQ(Calls("cudaStreamEndCapture").size(), 1u);
  EXPECT_EQ(Calls("cudaGraphDestroy").size(), 1u) << "the half of a graph";
  graph.Record([] {});
  EXPECT_TRUE(graph.recorded());
}

// libtorch's allocator would hand the memory to others while the graph still writes to it.
TEST_F(RuntimeApiTest, ARecordingThatTakesDeviceMemoryIsRefused) {
  const QueueGuard guard(0);
  const auto report = [](c10::Device device, int64_t bytes) {
    c10::reportMemoryUsageToProfiler(nullptr, bytes, 0, 0, device);
  };
  const c10::Device gpu(c10::kCUDA, 0), cpu(c10::kCPU);
  Graph graph;
  EXPECT_EQ(WhatIsThrown([&] { graph.Record([&] { report(gpu, 16); }); }),
            "device memory is allocated while a graph is recorded");
  EXPECT_FALSE(graph.recorded());
  report(gpu, 16);  // no longer counted
  graph.Record([&] {
    report(cpu, 16);
    report(gpu, -16);  // given back
  });
  EXPECT_TRUE(graph.recorded());
}

}  // namespace
}  // namespace tactus::device
