#include "common/model/folder/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/file_calls.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr size_t kHeaderAlignment = 8;

absl::Status ReadAt(int fd, const std::string& path, uint64_t offset, char* out, size_t size) {
  while (size > 0) {
    const ssize_t got = ::pread(fd, out, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FromErrno("cannot read", path);
    if (got == 0) return absl::DataLossError(absl::StrCat(path, ": the file ends before its tensors do"));
    out += got;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

// The length, the JSON and spaces up to a multiple of 8, so that the data is aligned.
absl::StatusOr<std::string> MakeHeader(const std::string& path, std::span<const TensorToWrite> tensors,
                                       StorageDType dtype) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  uint64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    int64_t numel = 1;
    for (const int64_t extent : tensor.shape) numel *= extent;
    const int64_t given = tensor.encoded.empty() ? static_cast<int64_t>(tensor.values.size())
                                                 : static_cast<int64_t>(tensor.encoded.size()) / BytesPerElement(dtype);
    if (numel != given || header.contains(tensor.name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", tensor.name, " is given twice or its shape does not match its values"));
    }
    const uint64_t end = offset + static_cast<uint64_t>(numel * BytesPerElement(dtype));
    header[tensor.name] = {{"dtype", dtype == StorageDType::kFloat32 ? "F32" : "BF16"},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment, ' ');
  const uint64_t length = text.size();
  std::string out(sizeof(length), '\0');
  std::memcpy(out.data(), &length, sizeof(length));
  return out + text;
}

absl::string_view BytesOf(const auto& values, size_t count) {
  return {reinterpret_cast<const char*>(values.data()), count * sizeof(values[0])};
}

// The hash goes through the bytes a piece at a time, while the piece is in a cache.
absl::Status WriteInPieces(HashedFile& file, absl::string_view bytes) {
  for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), kBufferBytes))) {
    RETURN_IF_ERROR(file.Write(bytes.substr(0, kBufferBytes)));
  }
  return absl::OkStatus();
}

absl::Status WriteValues(HashedFile& file, std::span<const float> values, StorageDType dtype) {
  if (dtype == StorageDType::kFloat32) return WriteInPieces(file, BytesOf(values, values.size()));
  std::vector<uint16_t> buffer(std::min(values.size(), kBufferBytes / sizeof(uint16_t)));
  while (!values.empty()) {
    const size_t count = std::min(values.size(), buffer.size());
    for (size_t i = 0; i < count; ++i) buffer[i] = FloatToBFloat16(values[i]);
    RETURN_IF_ERROR(file.Write(BytesOf(buffer, count)));
    values = values.subspan(count);
  }
  return absl::OkStatus();
}

}  // namespace

SafetensorsFile::~SafetensorsFile() {
  if (fd_ >= 0) ::close(fd_);
}

SafetensorsFile::SafetensorsFile(SafetensorsFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      data_start_(other.data_start_),
      header_(std::move(other.header_)) {}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FromErrno("cannot open", path);
  SafetensorsFile file(path, fd);
  struct stat info;
  if (::fstat(fd, &info) != 0) return FromErrno("cannot stat", path);
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  const uint64_t size = static_cast<uint64_t>(info.st_size);
  uint64_t length = 0;
  if (size < sizeof(length)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", size, " bytes are too few for a safetensors file"));
  }
  RETURN_IF_ERROR(ReadAt(fd, path, 0, reinterpret_cast<char*>(&length), sizeof(length)));
  if (length > kMaxSafetensorsHeaderBytes || length > size - sizeof(length)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": a header of ", length, " bytes does not fit; the file has ",
                                                   size, " and the limit is ", kMaxSafetensorsHeaderBytes));
  }
  std::string header(length, '\0');
  RETURN_IF_ERROR(ReadAt(fd, path, sizeof(length), header.data(), header.size()));
  file.data_start_ = sizeof(length) + length;
  ASSIGN_OR_RETURN(file.header_, ParseSafetensorsHeader(header, size - file.data_start_, path));
  return file;
}

const TensorInfo* SafetensorsFile::Find(absl::string_view name) const {
  for (const TensorInfo& tensor : header_.tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

absl::Status SafetensorsFile::ReadFloats(const TensorInfo& tensor, std::span<float> out) const {
  if (static_cast<int64_t>(out.size()) != tensor.numel) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": tensor ", tensor.name, " has ", tensor.numel, " elements; expected ", out.size()));
  }
  return ReadFloats(tensor, 0, out);
}

absl::Status SafetensorsFile::ReadFloats(const TensorInfo& tensor, int64_t first, std::span<float> out) const {
  if (first < 0 || first > tensor.numel || static_cast<int64_t>(out.size()) > tensor.numel - first) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor ", tensor.name, " has ", tensor.numel,
                                                   " elements; expected ", out.size(), " from ", first, " on"));
  }
  uint64_t offset = data_start_ + tensor.begin + static_cast<uint64_t>(first * TensorDTypeBytes(tensor.dtype));
  if (tensor.dtype == TensorDType::kF32) {
    return ReadAt(fd_, path_, offset, reinterpret_cast<char*>(out.data()), out.size_bytes());
  }
  if (tensor.dtype != TensorDType::kBF16 && tensor.dtype != TensorDType::kF16) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor ", tensor.name, " is ",
                                                   TensorDTypeName(tensor.dtype), "; expected F32, BF16 or F16"));
  }
  std::vector<uint16_t> buffer(std::min(out.size(), kBufferBytes / sizeof(uint16_t)));
  while (!out.empty()) {
    const size_t count = std::min(out.size(), buffer.size());
    RETURN_IF_ERROR(ReadAt(fd_, path_, offset, reinterpret_cast<char*>(buffer.data()), count * sizeof(uint16_t)));
    if (tensor.dtype == TensorDType::kBF16) {
      for (size_t i = 0; i < count; ++i) out[i] = BFloat16ToFloat(buffer[i]);
    } else {
      for (size_t i = 0; i < count; ++i) out[i] = Float16ToFloat(buffer[i]);
    }
    offset += count * sizeof(uint16_t);
    out = out.subspan(count);
  }
  return absl::OkStatus();
}

absl::StatusOr<FileDigest> WriteSafetensors(const std::string& path, std::span<const TensorToWrite> tensors,
                                            StorageDType dtype) {
  ASSIGN_OR_RETURN(const std::string header, MakeHeader(path, tensors, dtype));
  ASSIGN_OR_RETURN(HashedFile file, HashedFile::Create(path));
  RETURN_IF_ERROR(file.Write(header));
  for (const TensorToWrite& tensor : tensors) {
    RETURN_IF_ERROR(tensor.encoded.empty()
                        ? WriteValues(file, tensor.values, dtype)
                        : WriteInPieces(file, absl::string_view(tensor.encoded.data(), tensor.encoded.size())));
  }
  return file.Close();
}

}  // namespace tactus
