// GPT-2's spelling of bytes as printable characters, in which byte-level vocabularies are written.
//
// Bytes 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF stand for themselves as code points; the other 68, in order, for U+0100 and
// up. Thread-safe: constant.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace tactus {

uint32_t ByteToCodePoint(uint8_t byte);

// The bytes that `token` (valid UTF-8) spells; nothing when one of its characters spells no byte.
std::optional<std::string> BytesOfToken(absl::string_view token);

}  // namespace tactus
