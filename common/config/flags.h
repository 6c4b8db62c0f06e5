// Command-line flags of every program and command: CLI11, with this house's help and sentences. A flag is declared
// once, beside the variable that it fills.
//
//   struct RankFlags {
//     std::string config;
//     int rank = 0;
//     void Declare(CLI::App& app) {
//       AddRequired(app, "--config FILE", config, "the run's configuration");
//       AddFlag(app, "--rank R", rank, "this process's rank", 0, 1023);
//     }
//   } flags;
//   RETURN_IF_ERROR(ParseFlags([&](CLI::App& app) { flags.Declare(app); }, args));
//
// Accepted forms: --name value, --name=value, and --name alone for a switch; "--" ends the flags. Names are followed by
// what the help shows in place of a value. A variable's value is the flag's default; a std::optional tells whether the
// flag was given. CLI11 costs seconds per file: only flags.cc includes it. Thread-safe apart from the variables.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace CLI {
class App;
}

namespace tactus {

using DeclareFlags = std::function<void(CLI::App&)>;

// T: std::string, std::optional<std::string>, std::vector<std::string> (repeatable).
template <typename T>
void AddFlag(CLI::App& app, absl::string_view name, T& target, const std::string& help);
// A number from min to max. T: int, int64_t, uint64_t, double, std::optional<double>.
template <typename T>
void AddFlag(CLI::App& app, absl::string_view name, T& target, const std::string& help, double min, double max);
void AddRequired(CLI::App& app, absl::string_view name, std::string& target, const std::string& help);
void AddChoice(CLI::App& app, absl::string_view name, std::string& target, const std::string& help,
               std::vector<std::string> choices);
void AddSwitch(CLI::App& app, absl::string_view name, bool& target, const std::string& help);
// --log-format of the programs that run in a cluster: "text" or "json".
void AddLogFormat(CLI::App& app, std::string& format);
// What stands without a flag; `what` is how messages call it: "the folder of a run". T: std::string (it must be there),
// std::optional<std::string>, std::vector<std::string> (all there are).
template <typename T>
void AddArgument(CLI::App& app, T& target, const std::string& what);

// Fills in the variables. With `environment` a flag that is not given is looked up as TACTUS_<NAME>, with '-' as '_'; a
// switch is on when it says 1 or true. InvalidArgument: one sentence naming the flag; for an unknown one, the nearest
// that exists.
absl::Status ParseFlags(const DeclareFlags& declare, const std::vector<std::string>& args, bool environment = false);

// The flags as aligned lines for --help.
std::string FlagHelp(const DeclareFlags& declare);

// Whether one of the arguments before "--" asks for help.
bool AsksForHelp(const std::vector<std::string>& args);

// The candidate that needs the fewest edits to become `word`, if few enough to be a slip of the hand; else "".
std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates);

}  // namespace tactus
