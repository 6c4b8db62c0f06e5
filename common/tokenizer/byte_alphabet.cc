#include "common/tokenizer/byte_alphabet.h"

#include <array>

#include "common/tokenizer/utf8.h"

namespace tactus {
namespace {

constexpr size_t kCodePoints = 0x100 + 68;

struct Alphabet {
  std::array<uint16_t, 256> code_point{};
  std::array<int16_t, kCodePoints> byte{};  // -1: spells none
};

constexpr Alphabet kAlphabet = [] {
  Alphabet alphabet;
  for (int16_t& byte : alphabet.byte) byte = -1;
  uint16_t next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool itself = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    alphabet.code_point[b] = itself ? static_cast<uint16_t>(b) : next++;
    alphabet.byte[alphabet.code_point[b]] = static_cast<int16_t>(b);
  }
  return alphabet;
}();

}  // namespace

uint32_t ByteToCodePoint(uint8_t byte) { return kAlphabet.code_point[byte]; }

std::optional<std::string> BytesOfToken(absl::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  for (size_t at = 0; at < token.size();) {
    const Scalar scalar = DecodeUtf8(token, at);
    if (scalar.code_point >= kCodePoints || kAlphabet.byte[scalar.code_point] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kAlphabet.byte[scalar.code_point]));
    at += scalar.length_bytes;
  }
  return bytes;
}

}  // namespace tactus
