#include "common/base/status_macros.h"
#include "tools/command.h"
#include "tools/job/child_process.h"
#include "tools/job/rank_group.h"

namespace tactus {
namespace {

constexpr int kMaxFlags = 256;

constexpr FlagSpec kFlags[] = {
    {.name = "hosts",
     .type = FlagType::kInt,
     .value = "N",
     .help = "hosts of the learner",
     .fallback = "1",
     .min = 1,
     .max = 1024},
    {.name = "host-index",
     .type = FlagType::kInt,
     .value = "K",
     .help = "which of them this is, from 0",
     .fallback = "0",
     .min = 0,
     .max = 1023},
    {.name = "ranks-per-host",
     .type = FlagType::kInt,
     .value = "N",
     .help = "ranks on each host, one a GPU",
     .fallback = "1",
     .min = 1,
     .max = 64},
    {.name = "metrics-from",
     .value = "HOST:PORT",
     .help = "rank i of this host serves its metrics at PORT + i; default: service.metrics_listen"},
};

absl::Status Run(const Flags& flags) {
  ASSIGN_OR_RETURN(const std::string folder, BinaryFolder());
  return RunRankGroup({.learner = folder + "/tactus-learner",
                       .flags = flags.positional(),
                       .hosts = static_cast<int>(flags.Int("hosts")),
                       .host_index = static_cast<int>(flags.Int("host-index")),
                       .ranks = static_cast<int>(flags.Int("ranks-per-host")),
                       .metrics_from = flags.Text("metrics-from")});
}

}  // namespace

constinit const Command kRanksCommand = {
    .name = "ranks",
    .summary = "Runs the learner ranks of one host of a cluster; flags may come from the environment",
    .synopsis = "[--hosts N --host-index K] [--ranks-per-host N] [--metrics-from HOST:PORT] -- FLAGS OF tactus-learner",
    .example =
        "tactus ranks --hosts 2 --host-index 1 --ranks-per-host 8 -- --config run.textproto --out /runs/a "
        "--store host0:29500 --resume",
    .flags = kFlags,
    .rules = {.max_positional = kMaxFlags, .positional = "flags of tactus-learner", .environment = true},
    .run = Run,
};

}  // namespace tactus
