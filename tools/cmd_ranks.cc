#include "common/base/status_macros.h"
#include "tools/command.h"
#include "tools/job/child_process.h"
#include "tools/job/rank_group.h"

namespace tactus {
namespace {

struct RanksFlags {
  std::vector<std::string> learner_flags;
  int hosts = 1, host_index = 0, ranks_per_host = 1;
  std::string metrics_from;

  void Declare(CLI::App& app) {
    AddArgument(app, learner_flags, "flags of tactus-learner");
    AddFlag(app, "--hosts N", hosts, "hosts of the learner", 1, 1024);
    AddFlag(app, "--host-index K", host_index, "which of them this is, from 0", 0, 1023);
    AddFlag(app, "--ranks-per-host N", ranks_per_host, "ranks on each host, one a GPU", 1, 64);
    AddFlag(app, "--metrics-from HOST:PORT", metrics_from,
            "rank i of this host serves its metrics at PORT + i; default: service.metrics_listen");
  }
};

absl::Status Run(const RanksFlags& flags) {
  ASSIGN_OR_RETURN(const std::string folder, BinaryFolder());
  return RunRankGroup({.learner = folder + "/tactus-learner",
                       .flags = flags.learner_flags,
                       .hosts = flags.hosts,
                       .host_index = flags.host_index,
                       .ranks = flags.ranks_per_host,
                       .metrics_from = flags.metrics_from});
}

}  // namespace

constinit const Command kRanksCommand = {
    .name = "ranks",
    .summary = "Runs the learner ranks of one host of a cluster; flags may come from the environment",
    .synopsis = "[--hosts N --host-index K] [--ranks-per-host N] [--metrics-from HOST:PORT] -- FLAGS OF tactus-learner",
    .example =
        "tactus ranks --hosts 2 --host-index 1 --ranks-per-host 8 -- --config run.textproto --out /runs/a "
        "--store host0:29500 --resume",
    .bind = [] { return Bind(Run); },
    .environment = true,
};

}  // namespace tactus
