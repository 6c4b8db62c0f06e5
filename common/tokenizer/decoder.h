// Turns tokens back into text: tokenizer.json's decoder.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/json_field.h"

namespace tactus {

// Immutable, thread-safe. Supports Sequence, ByteLevel, ByteFallback, Fuse and Replace (of a String).
class TokenDecoder {
 public:
  // InvalidArgument: names the field; another type of decoder, or none.
  static absl::StatusOr<TokenDecoder> FromJson(const JsonField& field);

  // The text of the tokens; valid UTF-8 when they are.
  std::string Decode(std::vector<std::string> tokens) const;

 private:
  struct ByteLevel {};
  struct ByteFallback {};
  struct Fuse {};
  struct Replace {
    std::string pattern, content;
  };
  using Step = std::variant<ByteLevel, ByteFallback, Fuse, Replace>;

  static absl::Status AppendSteps(const JsonField& field, std::vector<Step>& steps);
  static std::vector<std::string> Apply(const ByteLevel& step, std::vector<std::string> tokens);
  static std::vector<std::string> Apply(const ByteFallback& step, std::vector<std::string> tokens);
  static std::vector<std::string> Apply(const Fuse& step, std::vector<std::string> tokens);
  static std::vector<std::string> Apply(const Replace& step, std::vector<std::string> tokens);

  std::vector<Step> steps_;
};

}  // namespace tactus
