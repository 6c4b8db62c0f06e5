#include "common/tokenizer/pre_tokenizer.h"

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/tokenizer/unicode.h"
#include "common/tokenizer/utf8.h"

namespace tactus {
namespace {

constexpr char kGpt2Regex[] = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::FromJson(const JsonField& field) {
  PreTokenizer out;
  if (field.is_null()) return field.Expected("a pre_tokenizer that ends in ByteLevel");
  RETURN_IF_ERROR(AppendSteps(field, out.steps_));
  const auto is_byte_level = [](const Step& step) { return std::holds_alternative<ByteLevelStep>(step); };
  if (std::count_if(out.steps_.begin(), out.steps_.end(), is_byte_level) != 1 || !is_byte_level(out.steps_.back())) {
    return field.Expected("ByteLevel once, as the last step (only byte-level BPE is supported)");
  }
  return out;
}

absl::Status PreTokenizer::AppendSteps(const JsonField& field, std::vector<Step>& steps) {
  JSON_MEMBER(const std::string type, field, "type", String());
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const JsonField list, field.Member("pretokenizers"));
    ASSIGN_OR_RETURN(const size_t size, list.ArraySize());
    for (size_t i = 0; i < size; ++i) RETURN_IF_ERROR(AppendSteps(list.Element(i), steps));
  } else if (type == "Split") {
    ASSIGN_OR_RETURN(Step step, ReadSplit(field));
    steps.push_back(std::move(step));
  } else if (type == "Digits") {
    JSON_MEMBER(const bool individual, field, "individual_digits", Bool());
    steps.push_back(DigitsStep{individual});
  } else if (type == "ByteLevel") {
    ASSIGN_OR_RETURN(Step step, ReadByteLevel(field));
    steps.push_back(std::move(step));
  } else {
    ASSIGN_OR_RETURN(const JsonField type_field, field.Member("type"));
    return type_field.Expected("Sequence, Split, Digits or ByteLevel (no other pre-tokenizer is supported)");
  }
  return absl::OkStatus();
}

absl::StatusOr<PreTokenizer::Step> PreTokenizer::ReadSplit(const JsonField& field) {
  ASSIGN_OR_RETURN(const JsonField pattern, field.Member("pattern"));
  ASSIGN_OR_RETURN(const JsonField regex_field, pattern.Member("Regex"));
  std::string translated;
  if (!regex_field.is_null()) {
    ASSIGN_OR_RETURN(const std::string source, regex_field.String());
    absl::StatusOr<std::string> result = TranslateRegex(source);
    if (!result.ok()) return pattern.Error(result.status().message());
    translated = *std::move(result);
  } else {
    JSON_MEMBER(const std::string literal, pattern, "String", String());
    translated = LiteralRegex(literal);
  }
  absl::StatusOr<SplitRegex> regex = SplitRegex::Compile(translated);
  if (!regex.ok()) return pattern.Error(regex.status().message());

  JSON_MEMBER(const std::string name, field, "behavior", String());
  constexpr std::pair<absl::string_view, Behavior> kBehaviors[] = {
      {"Removed", Behavior::kRemoved},
      {"Isolated", Behavior::kIsolated},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
      {"Contiguous", Behavior::kContiguous}};
  const auto found = std::find_if(std::begin(kBehaviors), std::end(kBehaviors),
                                  [&](const auto& behavior) { return behavior.first == name; });
  if (found == std::end(kBehaviors)) {
    ASSIGN_OR_RETURN(const JsonField behavior, field.Member("behavior"));
    return behavior.Expected("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
  }
  JSON_MEMBER(const bool invert, field, "invert", Bool());
  return SplitStep{*std::move(regex), found->second, invert};
}

absl::StatusOr<PreTokenizer::Step> PreTokenizer::ReadByteLevel(const JsonField& field) {
  JSON_MEMBER(const bool add_prefix_space, field, "add_prefix_space", Bool());
  JSON_MEMBER(const bool use_regex, field, "use_regex", BoolOr(true));
  ASSIGN_OR_RETURN(const std::string pattern, TranslateRegex(kGpt2Regex));
  ASSIGN_OR_RETURN(SplitRegex regex, SplitRegex::Compile(pattern));
  return ByteLevelStep{add_prefix_space, use_regex, std::move(regex)};
}

void PreTokenizer::Split(absl::string_view text, Pieces& pieces) const {
  if (text.empty()) return;
  if (steps_.size() == 1) {
    std::visit([&](const auto& step) { Apply(step, text, pieces); }, steps_[0]);
    return;
  }
  std::vector<absl::string_view> inputs = {text};
  for (size_t i = 0; i + 1 < steps_.size(); ++i) {
    Pieces outputs;  // only ByteLevel, the last, makes copies
    for (const absl::string_view input : inputs) {
      std::visit([&](const auto& step) { Apply(step, input, outputs); }, steps_[i]);
    }
    inputs = std::move(outputs.slices);
  }
  for (const absl::string_view input : inputs) {
    std::visit([&](const auto& step) { Apply(step, input, pieces); }, steps_.back());
  }
}

// The matches of a regex and what lies between them, which together cover the text.
std::vector<PreTokenizer::Match> PreTokenizer::RegexMatches(const SplitRegex& regex, absl::string_view text) {
  std::vector<ByteRange> found;
  regex.FindAll(text, found);
  std::vector<Match> matches;
  matches.reserve(found.size());
  size_t covered = 0;
  for (const ByteRange& range : found) {
    if (covered != range.first) matches.push_back({{covered, range.first}, false});
    matches.push_back({range, true});
    covered = range.last;
  }
  if (covered != text.size()) matches.push_back({{covered, text.size()}, false});
  return matches;
}

std::vector<PreTokenizer::Match> PreTokenizer::DigitMatches(absl::string_view text) {
  std::vector<Match> matches;
  size_t covered = 0;
  for (size_t at = 0; at < text.size();) {
    const Scalar scalar = DecodeUtf8(text, at);
    const size_t end = at + scalar.length_bytes;
    if (IsNumeric(scalar.code_point)) {
      if (covered != at) matches.push_back({{covered, at}, false});
      matches.push_back({{at, end}, true});
      covered = end;
    }
    at = end;
  }
  if (covered != text.size()) matches.push_back({{covered, text.size()}, false});
  return matches;
}

void PreTokenizer::Cut(absl::string_view text, const std::vector<Match>& matches, Behavior behavior,
                       std::vector<absl::string_view>& out) {
  const auto emit = [&](ByteRange range) { out.push_back(text.substr(range.first, range.last - range.first)); };
  if (behavior == Behavior::kIsolated || behavior == Behavior::kRemoved) {
    for (const Match& match : matches) {
      if (behavior == Behavior::kIsolated || !match.is_match) emit(match.range);
    }
    return;
  }
  // The other three join a match to a neighbour; MergedWithNext is MergedWithPrevious seen from the end.
  std::vector<ByteRange> joined;
  bool previous_match = false;
  const auto join = [&](const Match& match) {
    const bool joins =
        behavior == Behavior::kContiguous ? match.is_match == previous_match : match.is_match && !previous_match;
    previous_match = match.is_match;
    if (!joins || joined.empty()) {
      joined.push_back(match.range);
    } else if (behavior == Behavior::kMergedWithNext) {
      joined.back().first = match.range.first;
    } else {
      joined.back().last = match.range.last;
    }
  };
  if (behavior == Behavior::kMergedWithNext) {
    std::for_each(matches.rbegin(), matches.rend(), join);
    std::reverse(joined.begin(), joined.end());
  } else {
    std::for_each(matches.begin(), matches.end(), join);
  }
  for (const ByteRange& range : joined) emit(range);
}

void PreTokenizer::Apply(const SplitStep& step, absl::string_view text, Pieces& out) {
  std::vector<Match> matches = RegexMatches(step.regex, text);
  if (step.invert) {
    for (Match& match : matches) match.is_match = !match.is_match;
  }
  Cut(text, matches, step.behavior, out.slices);
}

void PreTokenizer::Apply(const DigitsStep& step, absl::string_view text, Pieces& out) {
  Cut(text, DigitMatches(text), step.individual ? Behavior::kIsolated : Behavior::kContiguous, out.slices);
}

void PreTokenizer::Apply(const ByteLevelStep& step, absl::string_view text, Pieces& out) {
  if (step.add_prefix_space && text.front() != ' ') {
    text = out.copies.emplace_back(absl::StrCat(" ", text));
  }
  if (step.use_regex) {
    Cut(text, RegexMatches(step.regex, text), Behavior::kIsolated, out.slices);
  } else {
    out.slices.push_back(text);
  }
}

}  // namespace tactus
