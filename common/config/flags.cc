#include "common/config/flags.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

absl::Status Wrong(absl::string_view flag, absl::string_view value, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat("--", flag, " cannot be \"", value, "\": expected ", expected, "."));
}

absl::Status CheckValue(const FlagSpec& spec, absl::string_view value) {
  const std::string range = absl::StrCat(" from ", spec.min, " to ", spec.max);
  if (spec.type == FlagType::kInt) {
    int64_t number = 0;
    if (!absl::SimpleAtoi(value, &number) || static_cast<double>(number) < spec.min ||
        static_cast<double>(number) > spec.max) {
      return Wrong(spec.name, value, absl::StrCat("a whole number", range));
    }
  }
  if (spec.type == FlagType::kDouble) {
    double number = 0;
    if (!absl::SimpleAtod(value, &number) || !(number >= spec.min && number <= spec.max)) {
      return Wrong(spec.name, value, absl::StrCat("a number", range));
    }
  }
  if (spec.type == FlagType::kString && value.empty() && spec.required) {
    return Wrong(spec.name, value, spec.value);
  }
  return absl::OkStatus();
}

absl::Status UnknownFlag(std::span<const FlagSpec> specs, absl::string_view name) {
  std::vector<std::string> names = {"help"};
  for (const FlagSpec& spec : specs) names.push_back(spec.name);
  const std::string nearest = Nearest(name, names);
  return absl::InvalidArgumentError(
      absl::StrCat("there is no flag --", name,
                   nearest.empty() ? "; --help lists them." : absl::StrCat(": did you mean --", nearest, "?")));
}

const FlagSpec* FindSpec(std::span<const FlagSpec> specs, absl::string_view name) {
  const auto it = std::find_if(specs.begin(), specs.end(), [name](const FlagSpec& spec) { return name == spec.name; });
  return it == specs.end() ? nullptr : &*it;
}

// TACTUS_<NAME> of a flag that was not given.
absl::Status ReadEnvironment(const FlagSpec& spec, std::vector<std::string>* values) {
  const std::string variable =
      absl::StrCat("TACTUS_", absl::AsciiStrToUpper(absl::StrReplaceAll(spec.name, {{"-", "_"}})));
  const char* text = std::getenv(variable.c_str());
  if (text == nullptr || *text == '\0') return absl::OkStatus();
  const absl::string_view value = text;
  if (spec.type == FlagType::kSwitch) {
    if (value == "0" || value == "false") return absl::OkStatus();
    if (value != "1" && value != "true") {
      return absl::InvalidArgumentError(
          absl::StrCat(variable, " cannot be \"", value, "\": expected 1, true, 0 or false."));
    }
  }
  const absl::Status status = CheckValue(spec, value);
  if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat(variable, ": ", status.message()));
  values->push_back(text);
  return absl::OkStatus();
}

[[noreturn]] void UnknownName(absl::string_view name) {
  std::fprintf(stderr, "our bug: flag --%s was asked for but never declared\n", std::string(name).c_str());
  std::abort();
}

}  // namespace

absl::StatusOr<Flags> Flags::Parse(std::span<const FlagSpec> specs, const std::vector<std::string>& args,
                                   const FlagRules& rules) {
  Flags flags;
  for (const FlagSpec& spec : specs) flags.values_[spec.name];
  bool only_positional = false;
  for (size_t i = 0; i < args.size(); ++i) {
    const absl::string_view arg = args[i];
    if (only_positional || !absl::StartsWith(arg, "-") || arg == "-") {
      flags.positional_.push_back(args[i]);
      continue;
    }
    if (arg == "--") {
      only_positional = true;
      continue;
    }
    const absl::string_view body = arg.substr(absl::StartsWith(arg, "--") ? 2 : 1);
    const size_t equals = body.find('=');
    const absl::string_view name = body.substr(0, equals);
    const FlagSpec* spec = FindSpec(specs, name);
    if (spec == nullptr || !absl::StartsWith(arg, "--")) return UnknownFlag(specs, name);
    std::vector<std::string>& values = flags.values_[spec->name];
    if (!values.empty() && !spec->repeated) {
      return absl::InvalidArgumentError(absl::StrCat("--", name, " is given twice: expected it once."));
    }
    std::string value = "1";
    if (spec->type == FlagType::kSwitch) {
      if (equals != absl::string_view::npos) {
        return absl::InvalidArgumentError(absl::StrCat("--", name, " takes no value."));
      }
    } else if (equals != absl::string_view::npos) {
      value = std::string(body.substr(equals + 1));
    } else if (i + 1 < args.size()) {
      value = args[++i];
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("--", name, " needs a value: expected --", name, " ", spec->value, "."));
    }
    RETURN_IF_ERROR(CheckValue(*spec, value));
    values.push_back(std::move(value));
  }
  for (const FlagSpec& spec : specs) {
    std::vector<std::string>& values = flags.values_[spec.name];
    if (values.empty() && rules.environment) RETURN_IF_ERROR(ReadEnvironment(spec, &values));
    if (values.empty() && spec.fallback[0] != '\0') values.push_back(spec.fallback);
    if (values.empty() && spec.required) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", spec.name, " ", spec.value, " is missing: ", spec.help, "."));
    }
  }
  const int count = static_cast<int>(flags.positional_.size());
  if (count < rules.min_positional) {
    return absl::InvalidArgumentError(absl::StrCat("expected ", rules.positional, " after the flags."));
  }
  if (count > rules.max_positional) {
    return absl::InvalidArgumentError(
        absl::StrCat("did not expect \"", flags.positional_[rules.max_positional], "\"; --help shows the form."));
  }
  return flags;
}

std::vector<std::string> Flags::All(absl::string_view name) const {
  const auto it = values_.find(name);
  if (it == values_.end()) UnknownName(name);
  return it->second;
}

bool Flags::Has(absl::string_view name) const { return !All(name).empty(); }

bool Flags::On(absl::string_view name) const { return Has(name); }

std::string Flags::Text(absl::string_view name) const {
  const std::vector<std::string> values = All(name);
  return values.empty() ? "" : values.back();
}

int64_t Flags::Int(absl::string_view name) const {
  int64_t value = 0;
  if (!absl::SimpleAtoi(Text(name), &value)) UnknownName(name);  // Parse let only numbers through
  return value;
}

double Flags::Double(absl::string_view name) const {
  double value = 0;
  if (!absl::SimpleAtod(Text(name), &value)) UnknownName(name);
  return value;
}

std::string FlagHelp(std::span<const FlagSpec> specs) {
  constexpr size_t kColumn = 26;
  std::string out;
  for (const FlagSpec& spec : specs) {
    std::string line = absl::StrCat("  --", spec.name, spec.value[0] == '\0' ? "" : " ", spec.value);
    line.append(line.size() < kColumn ? kColumn - line.size() : 2, ' ');
    absl::StrAppend(&out, line, spec.help);
    if (spec.repeated) absl::StrAppend(&out, " (repeatable)");
    if (spec.required) absl::StrAppend(&out, " (required)");
    if (spec.fallback[0] != '\0') absl::StrAppend(&out, " [", spec.fallback, "]");
    out.push_back('\n');
  }
  return out;
}

std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_edits = std::min<size_t>(3, word.size() / 2 + 1);  // at least this many = no resemblance
  if (word.size() > 64) return best;
  for (const std::string& candidate : candidates) {
    std::vector<size_t> row(candidate.size() + 1);  // Levenshtein distance, one row at a time
    for (size_t j = 0; j < row.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j < row.size(); ++j) {
        const size_t substitute = diagonal + (word[i - 1] != candidate[j - 1]);
        diagonal = row[j];
        row[j] = std::min({substitute, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row.back() < best_edits) {
      best_edits = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace tactus
