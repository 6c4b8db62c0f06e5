#include "tools/job/rank_group.h"

#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/exit_code.h"
#include "common/base/host_port.h"
#include "common/base/status_macros.h"
#include "common/base/stop_signals.h"
#include "tools/job/child_process.h"

namespace tactus {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(50);

// The r-th device of CUDA_VISIBLE_DEVICES, or r where that is not set.
std::string DeviceOfRank(int r) {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible == nullptr || *visible == '\0') return absl::StrCat(r);
  const std::vector<std::string> devices = absl::StrSplit(visible, ',');
  return devices[static_cast<size_t>(r) % devices.size()];
}

absl::StatusOr<std::string> MetricsAddress(const std::string& from, int r) {
  ASSIGN_OR_RETURN(HostPort address, HostPort::Parse(from, "--metrics-from"));
  if (address.port == 0) return from;  // each takes a free one
  address.port += r;
  if (address.port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("--metrics-from is ", from, ": expected a port with room for ", r + 1, " ports."));
  }
  return address.Text();
}

}  // namespace

absl::StatusOr<RankCommand> CommandOfRank(const RankGroupOptions& options, int r) {
  if (options.host_index >= options.hosts) {
    return absl::InvalidArgumentError(
        absl::StrCat("--host-index is ", options.host_index, ": expected less than --hosts ", options.hosts, "."));
  }
  RankCommand command;
  command.argv = {options.learner};
  command.argv.insert(command.argv.end(), options.flags.begin(), options.flags.end());
  command.argv.insert(command.argv.end(), {"--rank", absl::StrCat(options.host_index * options.ranks + r), "--world",
                                           absl::StrCat(options.hosts * options.ranks)});
  if (!options.metrics_from.empty()) {
    ASSIGN_OR_RETURN(const std::string address, MetricsAddress(options.metrics_from, r));
    command.argv.insert(command.argv.end(), {"--metrics-listen", address});
  }
  command.environment = {absl::StrCat("CUDA_VISIBLE_DEVICES=", DeviceOfRank(r))};
  return command;
}

absl::Status RunRankGroup(const RankGroupOptions& options) {
  CatchStopSignals();
  std::vector<RankCommand> commands;
  for (int r = 0; r < options.ranks; ++r) {
    ASSIGN_OR_RETURN(commands.emplace_back(), CommandOfRank(options, r));
  }
  std::vector<std::unique_ptr<ChildProcess>> ranks;  // what still runs is killed when this goes
  for (const RankCommand& command : commands) {
    ASSIGN_OR_RETURN(ranks.emplace_back(), ChildProcess::Start(command.argv, "", command.environment));
  }
  bool told = false;
  for (;;) {
    bool all_ended = true, stopped = false;
    for (int r = 0; r < options.ranks; ++r) {
      const std::optional<int> code = ranks[static_cast<size_t>(r)]->Poll();
      if (!code) all_ended = false;
      if (code == kExitStoppedEarly) stopped = true;
      if (code && *code != 0 && *code != kExitStoppedEarly) {
        return ErrorOfExit(absl::StrCat("learner rank ", options.host_index * options.ranks + r), *code,
                           "; its own words stand above.");
      }
    }
    if (all_ended) return stopped ? absl::CancelledError("the learner stopped early.") : absl::OkStatus();
    if (StopSignalCount() > 1) return absl::CancelledError("ended at once by a second signal.");
    if (StopSignalCount() > 0 && !std::exchange(told, true)) {
      for (const auto& rank : ranks) rank->Signal(SIGTERM);
    }
    absl::SleepFor(kTick);
  }
}

}  // namespace tactus
