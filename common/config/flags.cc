#include "common/config/flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <type_traits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace tactus {
namespace {

// What a check says; CLI11 puts the flag's name before it.
std::string Cannot(absl::string_view value, absl::string_view expected) {
  return absl::StrCat("cannot be \"", value, "\": expected ", expected, ".");
}

std::vector<CLI::Option*> Flags(CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return !option->get_lnames().empty(); });
}

std::string VariableOf(const CLI::Option& option) {
  return absl::StrCat("TACTUS_", absl::AsciiStrToUpper(absl::StrReplaceAll(option.get_lnames()[0], {{"-", "_"}})));
}

// The sentence about what matches no flag and no argument; "" = there is nothing of the kind.
std::string AboutTheRest(CLI::App& app) {
  std::vector<std::string> names = {"help"};
  for (const CLI::Option* option : Flags(app)) names.push_back(option->get_lnames()[0]);
  for (const std::string& rest : app.remaining()) {
    if (rest == "--") continue;
    if (rest.size() < 2 || rest[0] != '-') return absl::StrCat("did not expect \"", rest, "\"; --help shows the form.");
    const absl::string_view dashless =
        absl::string_view(rest).substr(std::min(rest.find_first_not_of('-'), rest.size()));
    const std::string name(dashless.substr(0, dashless.find('=')));
    const std::string nearest = Nearest(name, names);
    return absl::StrCat("there is no flag --", name,
                        nearest.empty() ? "; --help lists them." : absl::StrCat(": did you mean --", nearest, "?"));
  }
  return "";
}

bool Given(const CLI::Option& option, const std::vector<std::string>& args) {
  const std::string flag = "--" + option.get_lnames()[0];
  return std::any_of(args.begin(), std::find(args.begin(), args.end(), "--"),
                     [&flag](const std::string& arg) { return arg == flag || absl::StartsWith(arg, flag + "="); });
}

// The flags that are not given, from their variables. Not CLI11's envname: from 2.4 on it takes a value that a check
// refuses for none. `sentence`: about a switch's value that says neither on nor off.
std::vector<std::string> FromEnvironment(CLI::App& app, const std::vector<std::string>& args, std::string* sentence) {
  std::vector<std::string> found;
  for (const CLI::Option* flag : Flags(app)) {
    const char* const text = std::getenv(VariableOf(*flag).c_str());
    if (text == nullptr || *text == '\0' || Given(*flag, args)) continue;
    const std::string value = text, name = "--" + flag->get_lnames()[0];
    if (flag->get_expected_max() > 0) {
      found.push_back(absl::StrCat(name, "=", value));
    } else if (value == "1" || value == "true") {
      found.push_back(name);
    } else if (value != "0" && value != "false") {
      *sentence = absl::StrCat(VariableOf(*flag), " ", Cannot(value, "1, true, 0 or false"));
    }
  }
  return found;
}

// CLI11's message about a value names the flag; a value from the environment is the variable's.
std::string AboutTheValue(CLI::App& app, const std::vector<std::string>& args, const std::string& message) {
  const std::string name = message.substr(0, message.find(": "));
  const CLI::Option& option = *app.get_option(name);
  const std::string sentence = absl::StrCat(name, " ", message.substr(name.size() + 2));
  return Given(option, args) ? sentence : absl::StrCat(VariableOf(option), ": ", sentence);
}

std::string SentenceOf(CLI::App& app, const std::vector<std::string>& args, const CLI::ParseError& error) {
  const std::string message = error.what();
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ValidationError)) {
    return AboutTheValue(app, args, message);
  }
  for (const CLI::Option* flag : Flags(app)) {
    const std::string name = flag->get_name();
    if (absl::StartsWith(message, name + ": 1 required")) {
      return absl::StrCat(name, " needs a value: expected ", name, " ", flag->get_option_text(), ".");
    }
    if (message == flag->get_lnames()[0] + " was given a disallowed flag override") {
      return absl::StrCat(name, " takes no value.");
    }
    if (flag->get_expected_max() == 1 && flag->count() > 1) {
      return absl::StrCat(name, " is given twice: expected it once.");
    }
  }
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_required() || option->count() > 0) continue;
    return option->get_lnames().empty() ? absl::StrCat("expected ", option->get_description(), " after the flags.")
                                        : absl::StrCat(option->get_name(), " ", option->get_option_text(),
                                                       " is missing: ", option->get_description(), ".");
  }
  return message;
}

CLI::Validator WholeNumber(int64_t min, int64_t max) {
  return CLI::Validator(
      [min, max](std::string& text) -> std::string {
        int64_t number = 0;
        if (!absl::SimpleAtoi(text, &number) || number < min || number > max) {
          return Cannot(text, absl::StrCat("a whole number from ", min, " to ", max));
        }
        text = absl::StrCat(number);  // CLI11 would read a leading 0 as octal
        return "";
      },
      "");
}

CLI::Validator Number(double min, double max) {
  return CLI::Validator(
      [min, max](std::string& text) -> std::string {
        double number = 0;
        if (absl::SimpleAtod(text, &number) && number >= min && number <= max) return "";
        return Cannot(text, absl::StrCat("a number from ", min, " to ", max));
      },
      "");
}

template <typename T>
CLI::Option* Add(CLI::App& app, absl::string_view name, T& target, const std::string& help) {
  const size_t space = name.find(' ');
  CLI::Option* option = app.add_option(std::string(name.substr(0, space)), target, help);
  option->option_text(std::string(name.substr(space + 1)));
  if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) option->capture_default_str();
  return option->allow_extra_args(false);  // one value after each --name
}

}  // namespace

template <typename T>
void AddFlag(CLI::App& app, absl::string_view name, T& target, const std::string& help) {
  Add(app, name, target, help);
}

template <typename T>
void AddFlag(CLI::App& app, absl::string_view name, T& target, const std::string& help, double min, double max) {
  constexpr bool kWhole = std::is_integral_v<T>;
  Add(app, name, target, help)
      ->transform(kWhole ? WholeNumber(static_cast<int64_t>(min), static_cast<int64_t>(max)) : Number(min, max));
}

void AddRequired(CLI::App& app, absl::string_view name, std::string& target, const std::string& help) {
  CLI::Option* option = Add(app, name, target, help)->required();
  option->check([option](const std::string& text) {
    return text.empty() ? Cannot("", option->get_option_text()) : std::string();
  });
}

void AddChoice(CLI::App& app, absl::string_view name, std::string& target, const std::string& help,
               std::vector<std::string> choices) {
  Add(app, name, target, help)->check([choices = std::move(choices)](const std::string& text) -> std::string {
    if (std::find(choices.begin(), choices.end(), text) != choices.end()) return "";
    return Cannot(text, absl::StrCat(absl::StrJoin(choices.begin(), choices.end() - 1, ", "), " or ", choices.back()));
  });
}

void AddSwitch(CLI::App& app, absl::string_view name, bool& target, const std::string& help) {
  app.add_flag(std::string(name), target, help)->disable_flag_override();
}

void AddLogFormat(CLI::App& app, std::string& format) {
  AddChoice(app, "--log-format text|json", format,
            "how events are written to stderr: for people, or one JSON object a line", {"text", "json"});
}

template <typename T>
void AddArgument(CLI::App& app, T& target, const std::string& what) {
  app.add_option("argument", target, what)->required(std::is_same_v<T, std::string>);
}

template void AddFlag(CLI::App&, absl::string_view, std::string&, const std::string&);
template void AddFlag(CLI::App&, absl::string_view, std::optional<std::string>&, const std::string&);
template void AddFlag(CLI::App&, absl::string_view, std::vector<std::string>&, const std::string&);
template void AddFlag(CLI::App&, absl::string_view, int&, const std::string&, double, double);
template void AddFlag(CLI::App&, absl::string_view, int64_t&, const std::string&, double, double);
template void AddFlag(CLI::App&, absl::string_view, uint64_t&, const std::string&, double, double);
template void AddFlag(CLI::App&, absl::string_view, double&, const std::string&, double, double);
template void AddFlag(CLI::App&, absl::string_view, std::optional<double>&, const std::string&, double, double);
template void AddArgument(CLI::App&, std::string&, const std::string&);
template void AddArgument(CLI::App&, std::optional<std::string>&, const std::string&);
template void AddArgument(CLI::App&, std::vector<std::string>&, const std::string&);

absl::Status ParseFlags(const DeclareFlags& declare, const std::vector<std::string>& args, bool environment) {
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  declare(app);
  std::vector<std::string> all;
  std::string sentence;
  if (environment) all = FromEnvironment(app, args, &sentence);
  all.insert(all.end(), args.begin(), args.end());
  std::vector<std::string> reversed;  // as CLI11 wants them
  for (const std::string& arg : all) {
    // CLI11 takes the value of "--name=" from the next argument.
    const bool empty_value = arg.size() > 3 && absl::StartsWith(arg, "--") && arg.find('=') == arg.size() - 1;
    reversed.push_back(empty_value ? arg.substr(0, arg.size() - 1) : arg);
    if (empty_value) reversed.emplace_back();
  }
  std::reverse(reversed.begin(), reversed.end());
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    sentence = SentenceOf(app, args, error);
  }
  const std::string rest = AboutTheRest(app);
  if (!rest.empty()) sentence = rest;
  return sentence.empty() ? absl::OkStatus() : absl::InvalidArgumentError(sentence);
}

std::string FlagHelp(const DeclareFlags& declare) {
  constexpr size_t kColumn = 26;
  CLI::App app;
  app.set_help_flag();
  declare(app);
  std::string out;
  for (const CLI::Option* option : Flags(app)) {
    const std::string& value = option->get_option_text();
    std::string line = absl::StrCat("  ", option->get_name(), value.empty() ? "" : " ", value);
    line.append(line.size() < kColumn ? kColumn - line.size() : 2, ' ');
    absl::StrAppend(&out, line, option->get_description());
    if (option->get_expected_max() > 1) absl::StrAppend(&out, " (repeatable)");
    if (option->get_required()) absl::StrAppend(&out, " (required)");
    if (!option->get_default_str().empty()) absl::StrAppend(&out, " [", option->get_default_str(), "]");
    out.push_back('\n');
  }
  return out;
}

bool AsksForHelp(const std::vector<std::string>& args) {
  const auto end = std::find(args.begin(), args.end(), "--");
  return std::any_of(args.begin(), end, [](const std::string& arg) { return arg == "--help" || arg == "-h"; });
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
