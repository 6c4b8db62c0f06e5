// tactus-learner: one rank of the learner. See learner.h, and --help.
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/base/exit_code.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/stop_signals.h"
#include "common/base/thread.h"
#include "common/config/flags.h"
#include "common/config/run_config.h"
#include "common/device/devices.h"
#include "common/metrics/build_info.h"
#include "common/rollout/grpc_log.h"
#include "learner/learner.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

struct RankFlags {
  std::string config, out, store = "127.0.0.1:0", metrics_listen, ready_file, log_format = "text";
  std::optional<std::string> device;
  int rank = 0, world = 1;
  bool resume = false;
  std::vector<std::string> set;

  void Declare(CLI::App& app) {
    AddRequired(app, "--config FILE", config, "the run's configuration");
    AddRequired(app, "--out DIR", out, "the run's folder");
    AddFlag(app, "--rank R", rank, "this process's rank", 0, 1023);
    AddFlag(app, "--world N", world, "number of ranks", 1, 1024);
    AddFlag(app, "--store HOST:PORT", store, "where ranks meet; rank 0 listens there");
    AddFlag(app, "--device DEVICE", device, "overrides learner.device: auto, cpu or cuda:N");
    AddFlag(app, "--metrics-listen HOST:PORT", metrics_listen,
            "address of /metrics, /healthz and /readyz; default: service.metrics_listen");
    AddFlag(app, "--ready-file FILE", ready_file, "rank 0 writes its addresses here once it serves");
    AddSwitch(app, "--resume", resume, "go on from the newest good checkpoint in --out");
    AddLogFormat(app, log_format);
    AddFlag(app, "--set FIELD=VALUE", set, "override one configuration field");
  }
};

absl::StatusOr<LearnerOptions> OptionsOf(const RankFlags& flags) {
  LearnerOptions options;
  std::vector<std::string> overrides = flags.set;
  if (flags.device.has_value()) overrides.push_back(absl::StrCat("learner.device=", *flags.device));
  ASSIGN_OR_RETURN(config::RunConfig run, config::LoadRunConfig(flags.config, overrides));
  options.config = std::make_shared<const config::RunConfig>(std::move(run));
  options.folder = {flags.out};
  options.rank = flags.rank;
  options.world = flags.world;
  if (options.rank >= options.world) {
    return absl::InvalidArgumentError(
        absl::StrCat("--rank is ", options.rank, ": expected less than --world ", options.world));
  }
  ASSIGN_OR_RETURN(HostPort store, HostPort::Parse(flags.store, "--store"));
  store = store.Dialable();
  options.store_host = std::move(store.host);
  options.store_port = store.port;
  options.metrics_listen = flags.metrics_listen;
  options.ready_file = flags.ready_file;
  options.resume = flags.resume;
  return options;
}

absl::Status RunMain(const std::vector<std::string>& args) {
  RankFlags flags;
  RETURN_IF_ERROR(ParseFlags([&flags](CLI::App& app) { flags.Declare(app); }, args, /*environment=*/true));
  ASSIGN_OR_RETURN(LearnerOptions options, OptionsOf(flags));
  ConfigureLog({.json = flags.log_format == "json",
                .role = "learner",
                .run_id = options.config->service().run_id(),
                .instance_kind = "rank",
                .instance = absl::StrCat(options.rank)});
  RouteLibraryLogs();
  ASSIGN_OR_RETURN(options.device, OwnDevice(options.config->learner().device(),
                                             flags.device.has_value() ? "--device" : "learner.device"));
  // While ranks are awaited nothing is trained, so there is nothing to finish.
  ExitOnStopSignals(kExitStoppedEarly);
  options.joined = CatchStopSignals;
  return RunLearner(std::move(options), StopRequested());
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) {
  tactus::BeginProgram("tactus-learner");
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (tactus::AsksForHelp(args)) {
    tactus::RankFlags flags;
    std::printf(
        "tactus-learner: one rank of the learner; `tactus train` starts it.\n\n%s\nexample: tactus-learner "
        "--config configs/quickstart.textproto --out runs/a\n",
        tactus::FlagHelp([&flags](CLI::App& app) { flags.Declare(app); }).c_str());
    return 0;
  }
  if (std::ranges::find(args, "--version") != args.end()) {
    std::fputs(tactus::VersionText("tactus-learner", tactus::ThisBuild(), tactus::ListGpus()).c_str(), stdout);
    return 0;
  }
  const absl::Status status = tactus::RunMain(args);
  if (!status.ok()) tactus::LogFailure("tactus-learner", status.message());
  return tactus::ExitCodeOf(status, tactus::kExitStoppedEarly);
}
