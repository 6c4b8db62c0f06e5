// Cuts text into the pieces that the BPE model merges within: tokenizer.json's pre_tokenizer.
#pragma once

#include <deque>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/json_field.h"
#include "common/tokenizer/regex.h"

namespace tactus {

// Slices of one text, and of the copies that a prefixed space needed. Reusable: clear() between texts.
struct Pieces {
  std::vector<absl::string_view> slices;
  std::deque<std::string> copies;  // a deque: slices into it stay valid
  void clear() {
    slices.clear();
    copies.clear();
  }
};

// Immutable, thread-safe. Supports Sequence, Split (Regex and String, the five behaviors, invert), Digits and, once and
// at the end, ByteLevel. The bytes of a piece are what ByteLevel spells as characters: nothing else reads that
// spelling.
class PreTokenizer {
 public:
  // InvalidArgument: names the field; another type, a regex that is not supported, ByteLevel missing or not last.
  static absl::StatusOr<PreTokenizer> FromJson(const JsonField& field);

  // Appends the pieces of `text` (valid UTF-8), none empty.
  void Split(absl::string_view text, Pieces& pieces) const;

 private:
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  struct SplitStep {
    SplitRegex regex;
    Behavior behavior;
    bool invert;
  };
  struct DigitsStep {
    bool individual;
  };
  struct ByteLevelStep {
    bool add_prefix_space;
    bool use_regex;
    SplitRegex regex;  // GPT-2's
  };
  using Step = std::variant<SplitStep, DigitsStep, ByteLevelStep>;
  struct Match {
    ByteRange range;
    bool is_match;
  };

  static absl::Status AppendSteps(const JsonField& field, std::vector<Step>& steps);
  static absl::StatusOr<Step> ReadSplit(const JsonField& field);
  static absl::StatusOr<Step> ReadByteLevel(const JsonField& field);
  static void Cut(absl::string_view text, const std::vector<Match>& matches, Behavior behavior,
                  std::vector<absl::string_view>& out);
  static std::vector<Match> RegexMatches(const SplitRegex& regex, absl::string_view text);
  static std::vector<Match> DigitMatches(absl::string_view text);
  static void Apply(const SplitStep& step, absl::string_view text, Pieces& out);
  static void Apply(const DigitsStep& step, absl::string_view text, Pieces& out);
  static void Apply(const ByteLevelStep& step, absl::string_view text, Pieces& out);

  std::vector<Step> steps_;
};

}  // namespace tactus
