#include "common/collective/gloo_collective.h"

#include <ATen/ops/empty.h>
#include <c10/util/Logging.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

using c10d::ProcessGroupGloo;

// Gloo works on buffers of its own, so that a caller that gives up (Abort, timeout) may free its memory at once while
// Gloo's thread still holds the buffer. Large enough to hide the latency of a step of the ring.
constexpr size_t kPieceBytes = size_t{16} << 20;

// c10d prints a stack for each error and retry; what matters is in our Status.
constexpr int kFatalLogLevel = 3;

std::chrono::milliseconds Milliseconds(absl::Duration duration) {
  return std::chrono::milliseconds(std::max<int64_t>(1, absl::ToInt64Milliseconds(duration)));
}

// The one place where an exception of libtorch or Gloo becomes a Status. Only the first line: the rest is a stack.
absl::Status StatusOfException(std::exception_ptr error, absl::string_view where) {
  std::string text = "unknown error";
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    text = e.what();
  } catch (...) {
  }
  text = text.substr(0, text.find('\n'));
  const std::string message = absl::StrCat(where, ": ", text);
  const std::string lower = absl::AsciiStrToLower(text);
  const bool timed_out = absl::StrContains(lower, "timed out") || absl::StrContains(lower, "timeout");
  return timed_out ? absl::DeadlineExceededError(message) : absl::UnavailableError(message);
}

// Opens the connections of the base class to Abort.
class GlooGroup : public ProcessGroupGloo {
 public:
  using ProcessGroupGloo::ProcessGroupGloo;
  void CloseConnections() {
    for (const auto& context : contexts_) context->closeConnections();
  }
};

at::Tensor Buffer(at::ScalarType type, size_t numel) {
  return at::empty({static_cast<int64_t>(numel)}, at::TensorOptions().dtype(type));
}

class GlooCollective : public Collective {
 public:
  GlooCollective(const CollectiveOptions& options, c10::intrusive_ptr<GlooGroup> group)
      : options_(options), group_(std::move(group)), state_(std::make_shared<State>()) {}

  // The destructor of a failed group would wait for Gloo's thread, inside an operation that only its own timeout ends.
  // So a failed group is left behind, with its thread: at most one per failure, and a failure ends the process's work.
  ~GlooCollective() override {
    if (Broken()) group_.release();
  }

  int rank() const override { return options_.rank; }
  int size() const override { return options_.world; }

  absl::Status AllReduceSum(std::span<float> values) override { return ReduceInPieces(values, at::kFloat); }
  absl::Status AllReduceSum(std::span<double> values) override { return ReduceInPieces(values, at::kDouble); }

  absl::Status AllGather(std::span<const double> mine, std::span<double> all) override {
    if (all.size() != mine.size() * static_cast<size_t>(size()))
      return absl::InvalidArgumentError(
          absl::StrCat("AllGather: ", all.size(), " values are not ", size(), " times ", mine.size(), "."));
    if (mine.empty()) return Barrier();
    at::Tensor input = Buffer(at::kDouble, mine.size()), output = Buffer(at::kDouble, all.size());
    std::memcpy(input.data_ptr(), mine.data(), mine.size_bytes());
    RETURN_IF_ERROR(Run("AllGather", [&] { return group_->_allgather_base(output, input); }));
    std::memcpy(all.data(), output.data_ptr(), all.size_bytes());
    return absl::OkStatus();
  }

  // By an all-reduce: the same bits as AllReduceSum gives, at up to twice the traffic of a true reduce-scatter.
  absl::Status ReduceScatterSum(std::span<const float> all, std::span<float> mine) override {
    if (all.size() != mine.size() * static_cast<size_t>(size()))
      return absl::InvalidArgumentError(
          absl::StrCat("ReduceScatterSum: ", all.size(), " values are not ", size(), " times ", mine.size(), "."));
    std::vector<float> sum(all.begin(), all.end());
    RETURN_IF_ERROR(AllReduceSum(std::span<float>(sum)));
    std::copy_n(sum.begin() + static_cast<ptrdiff_t>(mine.size()) * rank(), mine.size(), mine.begin());
    return absl::OkStatus();
  }

  absl::Status Broadcast(std::span<char> bytes, int root) override {
    if (root < 0 || root >= size())
      return absl::InvalidArgumentError(absl::StrCat("Broadcast: root ", root, " is not in a group of ", size(), "."));
    if (bytes.empty()) return Barrier();
    c10d::BroadcastOptions broadcast;
    broadcast.rootRank = root;
    return InPieces(bytes, at::kChar, "Broadcast",
                    [&](std::vector<at::Tensor>& piece) { return group_->broadcast(piece, broadcast); });
  }

  absl::Status Barrier() override {
    std::vector<at::Tensor> token = {Buffer(at::kFloat, 1).zero_()};
    return Run("Barrier", [&] { return group_->allreduce(token); });
  }

  void Abort() override {
    {
      absl::MutexLock lock(&state_->mutex);
      if (state_->broken) return;
      state_->broken = true;
    }
    group_->CloseConnections();  // the other ranks see it at once
  }

 private:
  // Shared with the completion callbacks, which may outlive this object.
  struct State {
    absl::Mutex mutex;
    bool broken ABSL_GUARDED_BY(mutex) = false;
    bool finished ABSL_GUARDED_BY(mutex) = false;  // the operation in flight
  };

  bool Broken() const {
    absl::MutexLock lock(&state_->mutex);
    return state_->broken;
  }
  std::string Where(absl::string_view operation) const {
    return absl::StrCat(operation, " on rank ", rank(), " of ", size());
  }

  template <typename T>
  absl::Status ReduceInPieces(std::span<T> values, at::ScalarType type) {
    if (values.empty()) return Barrier();
    return InPieces(values, type, "AllReduceSum",
                    [&](std::vector<at::Tensor>& piece) { return group_->allreduce(piece); });
  }

  // `start(piece)` on consecutive pieces of `values`, in place.
  template <typename T, typename Start>
  absl::Status InPieces(std::span<T> values, at::ScalarType type, absl::string_view operation, const Start& start) {
    const size_t largest = kPieceBytes / sizeof(T);
    for (size_t begin = 0; begin < values.size(); begin += largest) {
      const std::span<T> part = values.subspan(begin, std::min(largest, values.size() - begin));
      std::vector<at::Tensor> piece = {Buffer(type, part.size())};
      std::memcpy(piece[0].data_ptr(), part.data(), part.size_bytes());
      RETURN_IF_ERROR(Run(operation, [&] { return start(piece); }));
      std::memcpy(part.data(), piece[0].data_ptr(), part.size_bytes());
    }
    return absl::OkStatus();
  }

  // Starts one Gloo operation and waits for it, for Abort, or for the timeout.
  template <typename Start>
  absl::Status Run(absl::string_view operation, const Start& start) {
    {
      absl::MutexLock lock(&state_->mutex);
      if (state_->broken) return AbortedBefore(operation);
      state_->finished = false;
    }
    try {
      const c10::intrusive_ptr<c10d::Work> work = start();
      work->getFuture()->addCallback([state = state_](c10::ivalue::Future&) {
        absl::MutexLock lock(&state->mutex);
        state->finished = true;
      });
      const auto over = [this]()
                            ABSL_SHARED_LOCKS_REQUIRED(state_->mutex) { return state_->finished || state_->broken; };
      bool aborted = false, finished = false;
      {
        absl::MutexLock lock(&state_->mutex);
        state_->mutex.AwaitWithTimeout(absl::Condition(&over), options_.timeout);
        aborted = state_->broken;
        finished = state_->finished;
      }
      if (aborted) return AbortedBefore(operation);
      if (!finished) {
        Abort();
        return absl::DeadlineExceededError(
            absl::StrCat(Where(operation), ": timed out after ", absl::FormatDuration(options_.timeout), "."));
      }
      work->wait(Milliseconds(options_.timeout));  // finished: rethrows its error
      return absl::OkStatus();
    } catch (...) {
      const absl::Status status = StatusOfException(std::current_exception(), Where(operation));
      Abort();  // the neighbours, which wait for us, learn of it
      return status;
    }
  }

  absl::Status AbortedBefore(absl::string_view operation) const {
    return absl::AbortedError(absl::StrCat(Where(operation), ": the group was aborted or had failed before."));
  }

  const CollectiveOptions options_;
  c10::intrusive_ptr<GlooGroup> group_;
  const std::shared_ptr<State> state_;
};

bool IsLoopback(const std::string& host) { return host == "localhost" || absl::StartsWith(host, "127."); }

}  // namespace

absl::StatusOr<std::unique_ptr<Collective>> CreateGlooCollective(const CollectiveOptions& options) {
  const std::string where = absl::StrCat("Rank ", options.rank, " of ", options.world, " joining the store at ",
                                         options.store_host, ":", options.store_port);
  FLAGS_caffe2_log_level = kFatalLogLevel;
  try {
    c10d::TCPStoreOptions store_options;
    store_options.port = static_cast<uint16_t>(options.store_port);
    store_options.isServer = options.rank == 0;
    store_options.numWorkers = static_cast<size_t>(options.world);
    store_options.timeout = Milliseconds(options.timeout);
    auto store = c10::make_intrusive<c10d::TCPStore>(options.store_host, store_options);
    auto group_options = ProcessGroupGloo::Options::create(Milliseconds(options.timeout));
    group_options->threads = 1;
    group_options->devices.push_back(IsLoopback(options.store_host)
                                         ? ProcessGroupGloo::createDeviceForHostname("127.0.0.1")
                                         : ProcessGroupGloo::createDefaultDevice());
    auto group = c10::make_intrusive<GlooGroup>(store, options.rank, options.world, group_options);
    auto collective = std::make_unique<GlooCollective>(options, std::move(group));
    RETURN_IF_ERROR(collective->Barrier());  // nobody leaves before all have met
    return collective;
  } catch (...) {
    return absl::UnavailableError(StatusOfException(std::current_exception(), where).message());
  }
}

}  // namespace tactus
