// tactus-learner: one rank of the learner. See learner.h, and --help.
#include <csignal>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/config/flags.h"
#include "common/config/log_flags.h"
#include "common/config/run_config.h"
#include "common/device/devices.h"
#include "common/metrics/build_info.h"
#include "common/rollout/grpc_log.h"
#include "learner/learner.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

constexpr FlagSpec kFlags[] = {
    {.name = "config", .value = "FILE", .help = "the run's configuration", .required = true},
    {.name = "out", .value = "DIR", .help = "the run's folder", .required = true},
    {.name = "rank",
     .type = FlagType::kInt,
     .value = "R",
     .help = "this process's rank",
     .fallback = "0",
     .min = 0,
     .max = 1023},
    {.name = "world",
     .type = FlagType::kInt,
     .value = "N",
     .help = "number of ranks",
     .fallback = "1",
     .min = 1,
     .max = 1024},
    {.name = "store",
     .value = "HOST:PORT",
     .help = "where ranks meet; rank 0 listens there",
     .fallback = "127.0.0.1:0"},
    {.name = "device", .value = "DEVICE", .help = "overrides learner.device: auto, cpu or cuda:N"},
    {.name = "metrics-listen",
     .value = "HOST:PORT",
     .help = "address of /metrics, /healthz and /readyz; default: service.metrics_listen"},
    {.name = "ready-file", .value = "FILE", .help = "rank 0 writes its addresses here once it serves"},
    {.name = "resume", .type = FlagType::kSwitch, .help = "go on from the newest good checkpoint in --out"},
    kLogFormatFlag,
    {.name = "set", .value = "FIELD=VALUE", .help = "override one configuration field", .repeated = true},
    {.name = "help", .type = FlagType::kSwitch, .help = "show this text"},
};

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // set in a signal handler
void OnStopSignal(int) { stop_requested = true; }

absl::StatusOr<LearnerOptions> OptionsOf(const Flags& flags) {
  LearnerOptions options;
  std::vector<std::string> overrides = flags.All("set");
  if (flags.Has("device")) overrides.push_back(absl::StrCat("learner.device=", flags.Text("device")));
  ASSIGN_OR_RETURN(config::RunConfig run, config::LoadRunConfig(flags.Text("config"), overrides));
  options.config = std::make_shared<const config::RunConfig>(std::move(run));
  options.folder = {flags.Text("out")};
  options.rank = static_cast<int>(flags.Int("rank"));
  options.world = static_cast<int>(flags.Int("world"));
  if (options.rank >= options.world) {
    return absl::InvalidArgumentError(
        absl::StrCat("--rank is ", options.rank, ": expected less than --world ", options.world));
  }
  const std::pair<std::string, std::string> store = absl::StrSplit(flags.Text("store"), absl::MaxSplits(':', 1));
  options.store_host = store.first;
  if (!absl::SimpleAtoi(store.second, &options.store_port) || options.store_port < 0 || options.store_port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("--store is ", flags.Text("store"), ": expected HOST:PORT"));
  }
  options.metrics_listen = flags.Text("metrics-listen");
  options.ready_file = flags.Text("ready-file");
  options.resume = flags.On("resume");
  return options;
}

// A cluster's controller tells by them whether to start the run again: see docs/ARCHITECTURE.md.
enum ExitCode { kFinished = 0, kOurFailure = 1, kUsersMistake = 2, kStoppedEarly = 3 };

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kCancelled:
      return kStoppedEarly;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
      return kUsersMistake;
    default:
      return kOurFailure;
  }
}

absl::Status RunMain(const std::vector<std::string>& args) {
  ASSIGN_OR_RETURN(const Flags flags, Flags::Parse(kFlags, args, {.environment = true}));
  ASSIGN_OR_RETURN(LearnerOptions options, OptionsOf(flags));
  ASSIGN_OR_RETURN(const bool json_log, WantsJsonLog(flags));
  ConfigureLog({.json = json_log,
                .role = "learner",
                .run_id = options.config->service().run_id(),
                .instance_kind = "rank",
                .instance = absl::StrCat(options.rank)});
  RouteGrpcLog();
  ASSIGN_OR_RETURN(options.device,
                   OwnDevice(options.config->learner().device(), flags.Has("device") ? "--device" : "learner.device"));
  struct sigaction action {};
  action.sa_handler = OnStopSignal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  return RunLearner(std::move(options), &stop_requested);
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (std::ranges::find(args, "--help") != args.end()) {
    std::printf(
        "tactus-learner: one rank of the learner; `tactus train` starts it.\n\n%s\nexample: tactus-learner "
        "--config configs/quickstart.textproto --out runs/a\n",
        tactus::FlagHelp(tactus::kFlags).c_str());
    return 0;
  }
  if (std::ranges::find(args, "--version") != args.end()) {
    std::fputs(tactus::VersionText("tactus-learner", tactus::ThisBuild(), tactus::ListGpus()).c_str(), stdout);
    return 0;
  }
  const absl::Status status = tactus::RunMain(args);
  if (status.ok()) return tactus::kFinished;
  tactus::LogFailure("tactus-learner", status.message());
  return tactus::ExitCodeOf(status);
}
