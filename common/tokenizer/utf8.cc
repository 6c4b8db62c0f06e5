#include "common/tokenizer/utf8.h"

namespace tactus {
namespace {

// What the first byte allows: the sequence's length and the bounds of the second byte (which exclude overlong forms,
// surrogates and values over U+10FFFF). Length 0: no scalar starts with this byte.
struct LeadByte {
  size_t length_bytes;
  uint8_t second_min, second_max;
};

LeadByte ClassifyLead(uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte < 0xF0)
    return {3, static_cast<uint8_t>(byte == 0xE0 ? 0xA0 : 0x80), static_cast<uint8_t>(byte == 0xED ? 0x9F : 0xBF)};
  if (byte < 0xF5)
    return {4, static_cast<uint8_t>(byte == 0xF0 ? 0x90 : 0x80), static_cast<uint8_t>(byte == 0xF4 ? 0x8F : 0xBF)};
  return {0, 0, 0};
}

// How many bytes at `at` belong together, and whether they make a whole scalar.
struct Part {
  size_t length_bytes;
  bool valid;
};

Part NextPart(absl::string_view bytes, size_t at) {
  const LeadByte lead = ClassifyLead(static_cast<uint8_t>(bytes[at]));
  if (lead.length_bytes <= 1) return {1, lead.length_bytes == 1};
  for (size_t i = 1; i < lead.length_bytes; ++i) {
    if (at + i >= bytes.size()) return {i, false};
    const uint8_t byte = static_cast<uint8_t>(bytes[at + i]);
    const uint8_t low = i == 1 ? lead.second_min : 0x80, high = i == 1 ? lead.second_max : 0xBF;
    if (byte < low || byte > high) return {i, false};
  }
  return {lead.length_bytes, true};
}

}  // namespace

Scalar DecodeUtf8(absl::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(text[at + i])); };
  const uint32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {(first & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (first < 0xF0) return {(first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

Scalar DecodeUtf8Before(absl::string_view text, size_t end) {
  size_t start = end - 1;
  while ((static_cast<uint8_t>(text[start]) & 0xC0) == 0x80) --start;
  return DecodeUtf8(text, start);
}

void AppendUtf8(uint32_t code_point, std::string& out) {
  const auto tail = [&](int shift) { out.push_back(static_cast<char>(0x80 | (code_point >> shift & 0x3F))); };
  if (code_point < 0x80) {
    out.push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    out.push_back(static_cast<char>(0xC0 | code_point >> 6));
    tail(0);
  } else if (code_point < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | code_point >> 12));
    tail(6);
    tail(0);
  } else {
    out.push_back(static_cast<char>(0xF0 | code_point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

size_t ValidUtf8Prefix(absl::string_view bytes) {
  size_t at = 0;
  while (at < bytes.size()) {
    const Part part = NextPart(bytes, at);
    if (!part.valid) break;
    at += part.length_bytes;
  }
  return at;
}

std::string ReplaceInvalidUtf8(absl::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size();) {
    const Part part = NextPart(bytes, at);
    if (part.valid) {
      out.append(bytes.data() + at, part.length_bytes);
    } else {
      out.append("\xEF\xBF\xBD");
    }
    at += part.length_bytes;
  }
  return out;
}

}  // namespace tactus
