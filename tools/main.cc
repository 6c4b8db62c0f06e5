// The `tactus` front end: finds the subcommand, reads its flags, runs it, and turns its status into an exit code.
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/exit_code.h"
#include "common/base/thread.h"
#include "common/device/devices.h"
#include "common/metrics/build_info.h"
#include "tools/command.h"

namespace tactus {
namespace {

void Print(std::FILE* to, const std::string& text) { std::fwrite(text.data(), 1, text.size(), to); }

std::string Overview() {
  std::string text =
      "Tactus trains reasoning language models by reinforcement learning.\n\n"
      "Usage: tactus COMMAND [flags]\n\nCommands:\n";
  for (const Command* command : Commands()) {
    std::string line = absl::StrCat("  ", command->name);
    line.append(line.size() < 16 ? 16 - line.size() : 2, ' ');
    absl::StrAppend(&text, line, command->summary, "\n");
  }
  absl::StrAppend(&text,
                  "\n`tactus COMMAND --help` shows a command's flags and an example; `tactus --version` the build.\n");
  return text;
}

std::string HelpOf(const Command& command) {
  return absl::StrCat(command.summary, ".\n\nUsage: tactus ", command.name, " ", command.synopsis, "\n\nExample:\n  ",
                      command.example, "\n\nFlags:\n", FlagHelp(command.bind().declare));
}

int ExitWith(const std::string& who, const absl::Status& status) {
  if (!status.ok()) Print(stderr, absl::StrCat(who, ": ", status.message(), "\n"));
  return ExitCodeOf(status, kExitInterrupted);
}

int RunCommand(const Command& command, const std::vector<std::string>& args) {
  if (AsksForHelp(args)) {
    Print(stdout, HelpOf(command));
    return kExitOk;
  }
  const std::string who = absl::StrCat("tactus ", command.name);
  const BoundCommand bound = command.bind();
  const absl::Status parsed = ParseFlags(bound.declare, args, command.environment);
  if (!parsed.ok()) return ExitWith(who, parsed);
  const absl::Status status = bound.run();
  if (status.ok() && std::fflush(stdout) != 0) {
    return ExitWith(who, absl::UnavailableError("standard output could not be written."));
  }
  return ExitWith(who, status);
}

int Main(const std::vector<std::string>& args) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is a write error with a sentence, not a silent death
  if (args.empty()) {
    Print(stderr, Overview());
    return kExitUsersMistake;
  }
  const std::string& name = args.front();
  if (name == "--help" || name == "-h" || name == "help") {
    Print(stdout, Overview());
    return kExitOk;
  }
  if (name == "--version") {
    Print(stdout, VersionText("tactus", ThisBuild(), ListGpus()));
    return kExitOk;
  }
  std::vector<std::string> names;
  for (const Command* command : Commands()) {
    if (name == command->name) return RunCommand(*command, {args.begin() + 1, args.end()});
    names.push_back(command->name);
  }
  const std::string nearest = Nearest(name, names);
  return ExitWith("tactus", absl::InvalidArgumentError(
                                absl::StrCat("there is no command \"", name,
                                             nearest.empty() ? "\"; `tactus --help` lists them."
                                                             : absl::StrCat("\": did you mean ", nearest, "?"))));
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) {
  tactus::BeginProgram("tactus");
  return tactus::Main({argv + 1, argv + argc});
}
