// SHA-256 of bytes, as lowercase hex. Thread-safe.
#pragma once

#include <span>
#include <string>

#include "absl/strings/string_view.h"

namespace tactus {

inline constexpr size_t kSha256HexLength = 64;

std::string Sha256Hex(absl::string_view bytes);

// For content that comes in pieces. Not thread-safe; Finish may be called once.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void Update(absl::string_view bytes);
  std::string FinishHex();

 private:
  void* context_;  // EVP_MD_CTX; OpenSSL's headers stay out of ours
};

}  // namespace tactus
