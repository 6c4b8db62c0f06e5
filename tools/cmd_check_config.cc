#include <cstdio>

#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "tools/command.h"

namespace tactus {
namespace {

constexpr FlagSpec kFlags[] = {
    {.name = "set", .value = "FIELD=VALUE", .help = "override one field", .repeated = true},
};

absl::Status Run(const Flags& flags) {
  ASSIGN_OR_RETURN(const config::RunConfig run, config::LoadRunConfig(flags.positional()[0], flags.All("set")));
  for (const std::string& warning : config::Warnings(run)) std::fprintf(stderr, "warning: %s\n", warning.c_str());
  const std::string text = config::ResolvedText(run);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return absl::OkStatus();
}

}  // namespace

constinit const Command kCheckConfigCommand = {
    .name = "check-config",
    .summary = "Checks a configuration and prints it with every default",
    .synopsis = "FILE [--set FIELD=VALUE ...]",
    .example = "tactus check-config configs/quickstart.textproto --set rollout.temperature=0.8",
    .flags = kFlags,
    .rules = {.min_positional = 1, .max_positional = 1, .positional = "a configuration file"},
    .run = Run,
};

}  // namespace tactus
