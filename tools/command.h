// One subcommand of `tactus`: what it is called, what it accepts, how it runs. Constants, thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "common/config/flags.h"

namespace tactus {

// A command with its flags, which live as long as this.
struct BoundCommand {
  DeclareFlags declare;
  std::function<absl::Status()> run;  // after they were parsed
};

// F declares its members as flags: void Declare(CLI::App&).
template <typename F>
BoundCommand Bind(absl::Status (*run)(const F&)) {
  const auto flags = std::make_shared<F>();
  return {[flags](CLI::App& app) { flags->Declare(app); }, [flags, run] { return run(*flags); }};
}

struct Command {
  const char* name;
  const char* summary;   // one line for the list
  const char* synopsis;  // what follows "tactus <name> " in the usage line
  const char* example;   // a whole command line, or several
  // What it runs gives the exit code (common/base/exit_code.h). Cancelled: a clean stop on Ctrl-C.
  BoundCommand (*bind)();
  bool environment = false;  // flags may come from TACTUS_<NAME>
};

// The table, in the order of the help.
std::span<const Command* const> Commands();

// Each is defined in tools/cmd_<name>.cc.
extern const Command kAverageCommand;
extern const Command kCheckConfigCommand;
extern const Command kCreditStudyCommand;
extern const Command kEvalCommand;
extern const Command kGenerateCommand;
extern const Command kLossCommand;
extern const Command kPlanCommand;
extern const Command kRanksCommand;
extern const Command kReportCommand;
extern const Command kRhythmCommand;
extern const Command kRhythmStudyCommand;
extern const Command kScoreCommand;
extern const Command kSftCommand;
extern const Command kStudyCommand;
extern const Command kTokenizeCommand;
extern const Command kTopCommand;
extern const Command kTrainCommand;
extern const Command kVerifyCommand;

}  // namespace tactus
