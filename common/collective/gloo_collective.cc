#include "common/collective/gloo_collective.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
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

// A tensor of `bytes`, with zeros behind them up to `size` bytes.
at::Tensor CopyOf(at::ScalarType type, std::span<const char> bytes, size_t size) {
  at::Tensor copy = at::empty({static_cast<int64_t>(size / c10::elementSize(type))}, at::TensorOptions().dtype(type));
  char* const data = static_cast<char*>(copy.data_ptr());
  std::memcpy(data, bytes.data(), bytes.size());
  std::memset(data + bytes.size(), 0, size - bytes.size());
  return copy;
}
at::Tensor CopyOf(at::ScalarType type, std::span<const char> bytes) { return CopyOf(type, bytes, bytes.size()); }

// The part of the values that is this rank's.
std::span<char> SliceIn(const CommRequest& request, int rank) {
  const size_t begin = std::min(request.values.size(), request.slice_bytes * static_cast<size_t>(rank));
  return request.values.subspan(begin, std::min(request.slice_bytes, request.values.size() - begin));
}

// Adds up the slices that the ranks sent, end to end in `slices`, in the order of the ranks.
void AddSlices(const at::Tensor& slices, int ranks, size_t slice_bytes, std::span<char> sum) {
  const float* from = slices.const_data_ptr<float>();
  float* const to = reinterpret_cast<float*>(sum.data());
  const size_t count = sum.size() / sizeof(float), stride = slice_bytes / sizeof(float);
  std::copy_n(from, count, to);
  for (int rank = 1; rank < ranks; ++rank) {
    from += stride;
    for (size_t i = 0; i < count; ++i) to[i] += from[i];
  }
}

class GlooOperation : public CommOperation {
 public:
  // `finish` brings what has come to where it was asked for.
  GlooOperation(c10::intrusive_ptr<c10d::Work> work, std::function<void()> finish, std::function<void()> wake)
      : work_(std::move(work)), finish_(std::move(finish)) {
    work_->getFuture()->addCallback([wake = std::move(wake), done = done_](c10::ivalue::Future&) {
      *done = true;
      wake();
    });
  }

  absl::StatusOr<bool> Done() override { return done_->load(); }

  absl::Status Collect() override {
    try {
      work_->wait();  // done: at most rethrows its error
    } catch (...) {
      return StatusOfException(std::current_exception());
    }
    finish_();
    return absl::OkStatus();
  }

 private:
  const c10::intrusive_ptr<c10d::Work> work_;
  const std::function<void()> finish_;
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
    const std::span<char> values = request.values;
    const size_t padded = request.slice_bytes * static_cast<size_t>(group_->getSize());
    c10::intrusive_ptr<c10d::Work> work;
    std::vector<at::Tensor> result(1);
    switch (request.kind) {
      case Kind::kSumFloats:
      case Kind::kSumDoubles:
        result[0] = CopyOf(request.kind == Kind::kSumFloats ? at::kFloat : at::kDouble, values);
        work = group_->allreduce(result);
        break;
      // Gloo has none. Each rank gets what all have for its slice, and adds it up itself: as little traffic as can be.
      case Kind::kReduceScatterFloats: {
        at::Tensor sent = CopyOf(at::kFloat, values, padded);
        result[0] = at::empty_like(sent);
        std::vector<int64_t> even;
        work = group_->alltoall_base(result[0], sent, even, even);
        return std::make_unique<GlooOperation>(
            std::move(work),
            [slices = result[0], ranks = group_->getSize(), each = request.slice_bytes,
             mine = SliceIn(request, group_->getRank())] { AddSlices(slices, ranks, each, mine); },
            std::move(wake));
      }
      case Kind::kGather: {
        at::Tensor mine = CopyOf(at::kChar, SliceIn(request, group_->getRank()), request.slice_bytes);
        result[0] = at::empty({static_cast<int64_t>(padded)}, at::TensorOptions().dtype(at::kChar));
        work = group_->_allgather_base(result[0], mine);
        break;
      }
      case Kind::kBroadcastBytes: {
        c10d::BroadcastOptions broadcast;
        broadcast.rootRank = request.root;
        result[0] = CopyOf(at::kChar, values);
        work = group_->broadcast(result, broadcast);
        break;
      }
    }
    return std::make_unique<GlooOperation>(
        std::move(work), [all = result[0], values] { std::memcpy(values.data(), all.const_data_ptr(), values.size()); },
        std::move(wake));
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
                           const std::vector<std::string>&) -> absl::StatusOr<std::shared_ptr<CommBackend>> {
                         auto group_options = ProcessGroupGloo::Options::create(CeilMilliseconds(options.timeout));
                         group_options->threads = 1;
                         ASSIGN_OR_RETURN(group_options->devices, ChooseDevices(options.store_host));
                         return std::make_shared<GlooBackend>(
                             c10::make_intrusive<GlooGroup>(store, options.rank, options.world, group_options));
                       });
}

}  // namespace tactus
