// Command-line flags of every binary, from one description that also writes the help. Flags and environment are read
// here and nowhere else.
//
//   constexpr FlagSpec kFlags[] = {{.name = "rank", .type = FlagType::kInt, .value = "R", .help = "...", .max = 4095}};
//   ASSIGN_OR_RETURN(const Flags flags, Flags::Parse(kFlags, args, {.environment = true}));
//   flags.Int("rank");
//
// Accepted forms: --name value, --name=value, and --name alone for a switch; "--" ends the flags. Immutable after
// Parse, thread-safe. Asking for a flag that is not in the specs is our own bug and aborts.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

enum class FlagType { kString, kInt, kDouble, kSwitch };

struct FlagSpec {
  const char* name;  // without dashes
  FlagType type = FlagType::kString;
  const char* value = "";  // what the help shows in place of a value: "FILE", "N"
  const char* help = "";
  const char* fallback = "";  // text of the default; "" = none
  bool required = false;
  bool repeated = false;
  double min = 0, max = 0;  // of a number, inclusive
};

struct FlagRules {
  int min_positional = 0, max_positional = 0;
  const char* positional = "";  // how messages call them
  // A flag that is not given is looked up as TACTUS_<NAME>, with '-' as '_'; a switch is on when it says 1 or true.
  bool environment = false;
};

class Flags {
 public:
  // InvalidArgument: one sentence naming the flag; for an unknown one, the nearest that exists.
  static absl::StatusOr<Flags> Parse(std::span<const FlagSpec> specs, const std::vector<std::string>& args,
                                     const FlagRules& rules);

  bool Has(absl::string_view name) const;          // given, or with a default
  bool On(absl::string_view name) const;           // a switch
  std::string Text(absl::string_view name) const;  // the last one given; "" when there is none
  int64_t Int(absl::string_view name) const;
  double Double(absl::string_view name) const;
  std::vector<std::string> All(absl::string_view name) const;
  const std::vector<std::string>& positional() const { return positional_; }

 private:
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
  std::vector<std::string> positional_;
};

// The flags as aligned lines for --help.
std::string FlagHelp(std::span<const FlagSpec> specs);

// The candidate that needs the fewest edits to become `word`, if few enough to be a slip of the hand; else "".
std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates);

}  // namespace tactus
