#include "common/collective/c10d_group.h"

#include <c10/util/Logging.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/host_port.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/collective/bounded_call.h"
#include "common/collective/group_collective.h"
#include "common/collective/rank_board.h"
#include "common/collective/rank_watch.h"

namespace tactus {
namespace {

using StorePtr = c10::intrusive_ptr<c10d::Store>;

// c10d prints a stack for each error and retry; what matters is in our Status.
constexpr int kFatalLogLevel = 3;
constexpr char kBoardPrefix[] = "board";
constexpr int kAttempts = 8;  // at reaching the store, or fewer when each takes longer than its share
constexpr absl::Duration kReopenTimeout = absl::Milliseconds(500);
// c10d's recorder of operations enters each new group into a map of the process before it takes its lock, which crashes
// where ranks are threads of one process (torch 2.11, FlightRecorderDetail.hpp); what it would tell, RankWatch tells.
// Set while there is one thread, and read when the first group communicates.
[[maybe_unused]] const int recorder_is_off = ::setenv("TORCH_FR_BUFFER_SIZE", "0", /*overwrite=*/0);
constexpr absl::Duration kAnswerTimeout = absl::Seconds(2);  // of the store, beyond the time that ranks have to come

// May throw.
StorePtr OpenStore(const CollectiveOptions& options, bool serves, absl::Duration timeout) {
  c10d::TCPStoreOptions store_options;
  store_options.port = static_cast<uint16_t>(options.store_port);
  store_options.isServer = serves;
  store_options.waitWorkers = false;  // MeetRanks does, and can tell who is missing
  store_options.timeout = CeilMilliseconds(timeout);
  return c10::make_intrusive<c10d::TCPStore>(options.store_host, store_options);
}

// Rank 0 serves it; the others reach it within the time that ranks have to come. May throw. c10d alone would wait that
// time two or three times over: for each family of addresses, and again.
StorePtr AwaitStore(const CollectiveOptions& options) {
  if (options.rank == 0) return OpenStore(options, true, options.timeout);
  const absl::Time start = MonotonicNow();
  while (true) {
    try {
      StorePtr store = OpenStore(options, false, options.timeout / kAttempts);
      store->setTimeout(CeilMilliseconds(options.timeout));
      return store;
    } catch (...) {
      if (!absl::IsDeadlineExceeded(StatusOfException(std::current_exception()))) throw;
    }
    if (MonotonicNow() - start >= options.timeout) {
      throw std::runtime_error(
          absl::StrCat("timed out, as nobody served it for ", absl::FormatDuration(options.timeout)));
    }
  }
}

StorePtr WithPrefix(const char* prefix, const StorePtr& store) {
  return c10::make_intrusive<c10d::PrefixStore>(prefix, store);
}

// `store`: already with the board's prefix.
class StoreBoard : public RankBoard {
 public:
  StoreBoard(CollectiveOptions options, StorePtr store) : options_(std::move(options)), store_(std::move(store)) {}

  absl::Status Write(const std::string& key, const std::string& value) override {
    try {
      store_->set(key, value);
      return absl::OkStatus();
    } catch (...) {
      return StatusOfException(std::current_exception());
    }
  }

  absl::StatusOr<std::string> Read(const std::string& key) override {
    try {
      return store_->check({key}) ? store_->get_to_str(key) : "";
    } catch (...) {
      return StatusOfException(std::current_exception());
    }
  }

  absl::StatusOr<int64_t> Increment(const std::string& key) override {
    try {
      return store_->add(key, 1);
    } catch (...) {
      return StatusOfException(std::current_exception());
    }
  }

  absl::StatusOr<std::unique_ptr<RankBoard>> Reopen() const override {
    try {
      StorePtr store =
          options_.world == 1 ? store_ : WithPrefix(kBoardPrefix, OpenStore(options_, false, kReopenTimeout));
      return std::make_unique<StoreBoard>(options_, std::move(store));
    } catch (...) {
      return StatusOfException(std::current_exception());
    }
  }

 private:
  const CollectiveOptions options_;
  const StorePtr store_;
};

}  // namespace

absl::Status StatusOfException(std::exception_ptr error) {
  std::string text = "unknown error";
  try {
    std::rethrow_exception(std::move(error));
  } catch (const std::exception& e) {
    text = e.what();
  } catch (...) {
  }
  text = text.substr(0, text.find('\n'));
  const std::string lower = absl::AsciiStrToLower(text);
  const bool timed_out = absl::StrContains(lower, "timed out") || absl::StrContains(lower, "timeout");
  return timed_out ? absl::DeadlineExceededError(text) : absl::UnavailableError(text);
}

std::chrono::milliseconds CeilMilliseconds(absl::Duration duration) {
  return std::chrono::milliseconds(std::max<int64_t>(1, absl::ToInt64Milliseconds(duration)));
}

absl::StatusOr<std::unique_ptr<Collective>> JoinC10dGroup(const CollectiveOptions& options, const std::string& place,
                                                          const BackendFactory& make_backend) {
  FLAGS_caffe2_log_level = kFatalLogLevel;
  const std::string where = absl::StrCat("Rank ", options.rank, " of ", options.world, " joining the store at ",
                                         HostPort{options.store_host, options.store_port}.Text(), ": ");
  try {
    const StorePtr store = options.world == 1 ? StorePtr(c10::make_intrusive<c10d::HashStore>()) : AwaitStore(options);
    auto board = std::make_shared<StoreBoard>(options, WithPrefix(kBoardPrefix, store));
    const auto places = CallBounded<absl::StatusOr<std::vector<std::string>>>(
                            options.timeout + kAnswerTimeout,
                            [board, place, rank = options.rank, world = options.world, timeout = options.timeout] {
                              return MeetRanks(*board, rank, world, place, timeout);
                            })
                            .value_or(absl::UnavailableError("the store does not answer"));
    if (!places.ok()) return absl::Status(places.status().code(), absl::StrCat(where, places.status().message(), "."));
    ASSIGN_OR_RETURN(auto backend, make_backend(WithPrefix("group", store), *places));
    RankWatch::Options watch;
    watch.rank = options.rank;
    watch.world = options.world;
    auto group =
        std::make_unique<GroupCollective>(options, std::move(backend), std::make_unique<RankWatch>(watch, board));
    RETURN_IF_ERROR(group->Barrier());  // nobody leaves before all have met
    return group;
  } catch (...) {
    return absl::UnavailableError(absl::StrCat(where, StatusOfException(std::current_exception()).message()));
  }
}

}  // namespace tactus
