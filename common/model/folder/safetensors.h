// The safetensors format: a length, a JSON header, tensors end to end. https://github.com/huggingface/safetensors
//
// Open checks the whole header against the file before any data is touched: length and size arithmetic with overflow,
// UTF-8, duplicate keys, sizes that match shapes where the dtype is known, and byte ranges that cover the data exactly
// once, with no hole, no overlap and nothing after them. Beyond the format, the number of tensors, the rank and the
// length of names are bounded. Data is read with pread, never mapped: a file cut under us is an error, not a SIGBUS.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/dtype.h"
#include "common/base/hashed_file.h"

namespace tactus {

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
inline constexpr size_t kMaxSafetensorsTensors = 100'000;
inline constexpr size_t kMaxSafetensorsRank = 8;
inline constexpr size_t kMaxSafetensorsNameBytes = 512;

enum class TensorDType {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64,
  kOther  // of a later version of the format: such a tensor may stand in a file, but not be read
};

// The name in the file ("F32") and the width of an element; 0 of kOther.
absl::string_view TensorDTypeName(TensorDType dtype);
int64_t TensorDTypeBytes(TensorDType dtype);

struct TensorInfo {
  std::string name;
  TensorDType dtype = TensorDType::kF32;
  std::vector<int64_t> shape;  // rank 0 is one element; an extent may be 0
  int64_t numel = 0;
  uint64_t begin = 0;  // bytes from the start of the data section
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // in the order of their data
  std::map<std::string, std::string> metadata;
};

// Checks a header (the JSON text, without its length) against the size of the data section behind it.
// InvalidArgument starts with `source`. Allocates a small multiple of the header's size.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view header, uint64_t data_bytes,
                                                         absl::string_view source);

// An open file with a checked header. Thread-safe for reads. Movable; owns its file descriptor.
class SafetensorsFile {
 public:
  // NotFound, InvalidArgument; both name the path.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&& other) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) = delete;

  const std::string& path() const { return path_; }
  const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  const TensorInfo* Find(absl::string_view name) const;  // nullptr when there is none

  // Converts a tensor of this file (F32, BF16 or F16) to `out` [numel]. InvalidArgument for another dtype or size;
  // DataLoss when the file has become shorter. `out` is unspecified on error.
  absl::Status ReadFloats(const TensorInfo& tensor, std::span<float> out) const;
  // The same of the elements from `first` on, as many as `out` has.
  absl::Status ReadFloats(const TensorInfo& tensor, int64_t first, std::span<float> out) const;

 private:
  SafetensorsFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::string path_;
  int fd_;
  uint64_t data_start_ = 0;
  SafetensorsHeader header_;
};

struct TensorToWrite {
  std::string name;
  std::vector<int64_t> shape;
  std::span<const float> values;       // numel of shape, or
  std::span<const char> encoded = {};  // the same as the file has them
};

// Writes and syncs a file with the tensors in the given order and __metadata__ {"format": "pt"}, as transformers wants.
// Not atomic: the caller writes into a folder that is renamed when complete. Errors name the path (ResourceExhausted:
// the disk is full); InvalidArgument for a shape that does not match its values. The file's digest, made on the way.
absl::StatusOr<FileDigest> WriteSafetensors(const std::string& path, std::span<const TensorToWrite> tensors,
                                            StorageDType dtype);

}  // namespace tactus
