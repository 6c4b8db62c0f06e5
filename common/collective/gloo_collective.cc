#include "common/collective/gloo_collective.h"

#include <ATen/ops/empty.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/collective/c10d_group.h"
#include "common/collective/own_address.h"

namespace tactus {
namespace {

using c10d::ProcessGroupGloo;
using Kind = CommRequest::Kind;

// Gloo works on buffers of its own, so that a caller that gives up (Abort, timeout) may free its memory at once while
// Gloo's thread still holds the buffer. Large enough to hide the latency of a step of the ring; the next pieces are
// copied while one is under way.
constexpr CommLimits kLimits = {
    .piece_bytes = size_t{16} << 20, .max_in_flight = 4, .poll_interval = absl::InfiniteDuration()};

// Opens the connections of the base class to Abort.
class GlooGroup : public ProcessGroupGloo {
 public:
  using ProcessGroupGloo::ProcessGroupGloo;
  void CloseConnections() {
    for (const auto& context : contexts_) context->closeConnections();
  }
};

at::Tensor CopyOf(at::ScalarType type, std::span<const char> bytes) {
  const int64_t numel = static_cast<int64_t>(bytes.size() / c10::elementSize(type));
  at::Tensor copy = at::empty({numel}, at::TensorOptions().dtype(type));
  std::memcpy(copy.data_ptr(), bytes.data(), bytes.size());
  return copy;
}

class GlooOperation : public CommOperation {
 public:
  // `offset`: where in `result` the request's output begins, in bytes.
  GlooOperation(c10::intrusive_ptr<c10d::Work> work, at::Tensor result, size_t offset, std::span<char> output,
                std::function<void()> wake)
      : work_(std::move(work)), result_(std::move(result)), offset_(offset), output_(output) {
    work_->getFuture()->addCallback([wake = std::move(wake), done = done_](c10::ivalue::Future&) {
      *done = true;
      wake();
    });
  }

  bool Done() override { return *done_; }

  absl::Status Collect() override {
    try {
      work_->wait();  // done: at most rethrows its error
    } catch (...) {
      return StatusOfException(std::current_exception());
    }
    std::memcpy(output_.data(), static_cast<const char*>(result_.data_ptr()) + offset_, output_.size());
    return absl::OkStatus();
  }

 private:
  const c10::intrusive_ptr<c10d::Work> work_;
  const at::Tensor result_;
  const size_t offset_;
  const std::span<char> output_;
  const std::shared_ptr<std::atomic<bool>> done_ = std::make_shared<std::atomic<bool>>(false);
};

class GlooBackend : public CommBackend {
 public:
  explicit GlooBackend(c10::intrusive_ptr<GlooGroup> group) : group_(std::move(group)) {}

  // The destructor of a failed group would wait for Gloo's thread, inside an operation that only its own timeout ends.
  // So a failed group is left behind, with its thread: at most one per failure, and a failure ends the process's work.
  ~GlooBackend() override {
    if (aborted_) group_.release();
  }

  CommLimits limits() const override { return kLimits; }

  absl::StatusOr<std::unique_ptr<CommOperation>> Start(const CommRequest& request,
                                                       std::function<void()> wake) override {
    try {
      return Begin(request, std::move(wake));
    } catch (...) {
      return StatusOfException(std::current_exception());
    }
  }

  void Abort() override {
    aborted_ = true;
    group_->CloseConnections();  // the other ranks see it at once
  }

 private:
  std::unique_ptr<CommOperation> Begin(const CommRequest& request, std::function<void()> wake) {
    const std::span<char> output = request.output;
    c10::intrusive_ptr<c10d::Work> work;
    size_t offset = 0;
    std::vector<at::Tensor> result(1);
    switch (request.kind) {
      case Kind::kSumFloats:
      case Kind::kSumDoubles:
        result[0] = CopyOf(request.kind == Kind::kSumFloats ? at::kFloat : at::kDouble, output);
        work = group_->allreduce(result);
        break;
      // By an all-reduce: the same bits as AllReduceSum gives, at up to twice the traffic of a true reduce-scatter.
      case Kind::kReduceScatterFloats:
        result[0] = CopyOf(at::kFloat, request.input);
        offset = output.size() * static_cast<size_t>(group_->getRank());
        work = group_->allreduce(result);
        break;
      case Kind::kGatherDoubles: {
        at::Tensor input = CopyOf(at::kDouble, request.input);
        result[0] = CopyOf(at::kDouble, output);
        work = group_->_allgather_base(result[0], input);
        break;
      }
      case Kind::kBroadcastBytes: {
        c10d::BroadcastOptions broadcast;
        broadcast.rootRank = request.root;
        result[0] = CopyOf(at::kChar, output);
        work = group_->broadcast(result, broadcast);
        break;
      }
    }
    return std::make_unique<GlooOperation>(std::move(work), result[0], offset, output, std::move(wake));
  }

  c10::intrusive_ptr<GlooGroup> group_;
  std::atomic<bool> aborted_ = false;
};

void IgnoreBrokenPipes() {
  struct sigaction current = {};
  if (sigaction(SIGPIPE, nullptr, &current) == 0 && current.sa_handler == SIG_DFL) std::signal(SIGPIPE, SIG_IGN);
}

using Devices = std::vector<std::shared_ptr<gloo::transport::Device>>;

// The interfaces that the environment names, as everywhere where Gloo is used; or one that the store's host is reached
// by, which is where the other ranks are. Not the one of this machine's own name, which may be loopback's. May throw.
absl::StatusOr<Devices> ChooseDevices(const std::string& store_host) {
  const char* const names = std::getenv("GLOO_SOCKET_IFNAME");
  if (names == nullptr || *names == '\0') {
    const std::string address = RankAddress(store_host);
    return Devices{address.empty() ? ProcessGroupGloo::createDefaultDevice()
                                   : ProcessGroupGloo::createDeviceForHostname(address)};
  }
  Devices devices;
  for (const absl::string_view name : absl::StrSplit(names, ',')) {
    try {
      devices.push_back(ProcessGroupGloo::createDeviceForInterface(std::string(name)));
    } catch (const std::exception&) {
      return absl::InvalidArgumentError(
          absl::StrCat("GLOO_SOCKET_IFNAME is ", names, ": this machine has no interface ", name, " with an address."));
    }
  }
  return devices;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Collective>> CreateGlooCollective(const CollectiveOptions& options) {
  IgnoreBrokenPipes();
  return JoinC10dGroup(options, "cpu",
                       [&](const c10::intrusive_ptr<c10d::Store>& store,
                           const std::vector<std::string>&) -> absl::StatusOr<std::unique_ptr<CommBackend>> {
                         auto group_options = ProcessGroupGloo::Options::create(CeilMilliseconds(options.timeout));
                         group_options->threads = 1;
                         ASSIGN_OR_RETURN(group_options->devices, ChooseDevices(options.store_host));
                         return std::make_unique<GlooBackend>(
                             c10::make_intrusive<GlooGroup>(store, options.rank, options.world, group_options));
                       });
}

}  // namespace tactus
