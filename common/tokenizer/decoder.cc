#include "common/tokenizer/decoder.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/byte_alphabet.h"
#include "common/tokenizer/utf8.h"

namespace tactus {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = absl::ascii_tolower(static_cast<unsigned char>(c));
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// The byte that "<0xNN>" names, or -1. "<0x+N>" names one too, as in Rust's from_str_radix.
int FallbackByte(const std::string& token) {
  if (token.size() != 6 || token.compare(0, 3, "<0x") != 0 || token[5] != '>') return -1;
  const int high = token[3] == '+' ? 0 : HexDigit(token[3]), low = HexDigit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

}  // namespace

absl::StatusOr<TokenDecoder> TokenDecoder::FromJson(const JsonField& field) {
  if (field.is_null()) return field.Expected("a decoder with ByteLevel");
  TokenDecoder decoder;
  RETURN_IF_ERROR(AppendSteps(field, decoder.steps_));
  return decoder;
}

absl::Status TokenDecoder::AppendSteps(const JsonField& field, std::vector<Step>& steps) {
  JSON_MEMBER(const std::string type, field, "type", String());
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const JsonField list, field.Member("decoders"));
    ASSIGN_OR_RETURN(const size_t size, list.ArraySize());
    for (size_t i = 0; i < size; ++i) RETURN_IF_ERROR(AppendSteps(list.Element(i), steps));
  } else if (type == "ByteLevel") {
    steps.push_back(ByteLevel{});
  } else if (type == "ByteFallback") {
    steps.push_back(ByteFallback{});
  } else if (type == "Fuse") {
    steps.push_back(Fuse{});
  } else if (type == "Replace") {
    Replace replace;
    ASSIGN_OR_RETURN(const JsonField pattern, field.Member("pattern"));
    JSON_MEMBER(replace.pattern, pattern, "String", String());
    JSON_MEMBER(replace.content, field, "content", String());
    if (replace.pattern.empty()) return pattern.Expected("a String that is not empty");
    steps.push_back(std::move(replace));
  } else {
    ASSIGN_OR_RETURN(const JsonField type_field, field.Member("type"));
    return type_field.Expected("Sequence, ByteLevel, ByteFallback, Fuse or Replace (no other decoder is supported)");
  }
  return absl::OkStatus();
}

std::string TokenDecoder::Decode(std::vector<std::string> tokens) const {
  for (const Step& step : steps_) {
    tokens = std::visit([&](const auto& one) { return Apply(one, std::move(tokens)); }, step);
  }
  return absl::StrJoin(tokens, "");
}

// A token with a character outside the alphabet (an added token) stands for itself.
std::vector<std::string> TokenDecoder::Apply(const ByteLevel&, std::vector<std::string> tokens) {
  std::string bytes;
  for (std::string& token : tokens) bytes += BytesOfToken(token).value_or(token);
  return {ReplaceInvalidUtf8(bytes)};
}

std::vector<std::string> TokenDecoder::Apply(const ByteFallback&, std::vector<std::string> tokens) {
  std::vector<std::string> out;
  std::string bytes;
  const auto flush = [&] {
    if (ValidUtf8Prefix(bytes) == bytes.size()) {
      if (!bytes.empty()) out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const int byte = FallbackByte(token); byte >= 0) {
      bytes.push_back(static_cast<char>(byte));
      continue;
    }
    flush();
    out.push_back(std::move(token));
  }
  flush();
  return out;
}

std::vector<std::string> TokenDecoder::Apply(const Fuse&, std::vector<std::string> tokens) {
  return {absl::StrJoin(tokens, "")};
}

std::vector<std::string> TokenDecoder::Apply(const Replace& step, std::vector<std::string> tokens) {
  for (std::string& token : tokens) absl::StrReplaceAll({{step.pattern, step.content}}, &token);
  return tokens;
}

}  // namespace tactus
