// A safetensors file. Of what Open accepts, the tensors cover the data exactly once and can be read.
#include <vector>

#include "common/model/folder/safetensors.h"
#include "tests/fuzz/fuzz.h"

namespace tactus::fuzz {
namespace {

constexpr int64_t kMostRead = int64_t{1} << 16;  // elements of a tensor

// The bytes as they are, or, so that the length in front of the header need not be guessed: header NUL data.
std::string FileOf(absl::string_view input) {
  if (input.empty() || input[0] != '{') return std::string(input);
  const auto [header, data] = SplitAtNul(input);
  std::string file;
  for (int shift = 0; shift < 64; shift += 8)
    file.push_back(static_cast<char>(uint64_t{header.size()} >> shift & 0xFF));
  return file + header + data;
}

}  // namespace

void FuzzSafetensors(absl::string_view input) {
  static InputFile* const file = new InputFile;
  file->Write(FileOf(input));
  const absl::StatusOr<SafetensorsFile> opened = SafetensorsFile::Open(file->path());
  if (!opened.ok()) return;
  uint64_t covered = 0;
  for (const TensorInfo& tensor : opened->tensors()) {
    Require(tensor.begin == covered && tensor.end >= tensor.begin, "tensors lie end to end");
    covered = tensor.end;
    Require(opened->Find(tensor.name) != nullptr, "a tensor is found by its name");
    if (tensor.numel > kMostRead) continue;
    std::vector<float> values(static_cast<size_t>(tensor.numel));
    (void)opened->ReadFloats(tensor, values);
  }
}

}  // namespace tactus::fuzz
