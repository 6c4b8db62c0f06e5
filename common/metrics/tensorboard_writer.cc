#include "common/metrics/tensorboard_writer.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/metrics/tensorboard_codec.h"

static_assert(std::endian::native == std::endian::little, "the numbers of a TFRecord are little-endian");

namespace tactus {
namespace {

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0u);
    table[i] = crc;
  }
  return table;
}

uint32_t MaskedCrc(absl::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

template <typename T>
void AppendRaw(T value, std::string* out) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out->append(bytes, sizeof value);
}

double Now_s() { return absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()); }

}  // namespace

uint32_t Crc32c(absl::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = MakeCrcTable();
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

absl::StatusOr<std::unique_ptr<TensorBoardWriter>> TensorBoardWriter::Open(const std::string& folder,
                                                                           int64_t first_step) {
  RETURN_IF_ERROR(MakeFolders(folder));
  const std::string path =
      absl::StrCat(folder, "/events.out.tfevents.", absl::Dec(absl::ToUnixSeconds(absl::Now()), absl::kZeroPad10),
                   ".tactus.", getpid());
  std::FILE* file = std::fopen(path.c_str(), "wbe");
  if (file == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  auto writer = std::unique_ptr<TensorBoardWriter>(new TensorBoardWriter(path, file));
  RETURN_IF_ERROR(writer->WriteRecord(EncodeFileVersion(Now_s())));
  RETURN_IF_ERROR(writer->WriteRecord(EncodeSessionStart(Now_s(), first_step)));
  return writer;
}

TensorBoardWriter::~TensorBoardWriter() { std::fclose(file_); }

absl::Status TensorBoardWriter::WriteRecord(absl::string_view event) {
  std::string record;
  AppendRaw(uint64_t{event.size()}, &record);
  AppendRaw(MaskedCrc(record), &record);
  record.append(event.data(), event.size());
  AppendRaw(MaskedCrc(event), &record);
  if (std::fwrite(record.data(), 1, record.size(), file_) != record.size()) {
    return absl::UnavailableError(absl::StrCat("cannot write to ", path_, ": is the disk full?"));
  }
  return absl::OkStatus();
}

absl::Status TensorBoardWriter::WriteScalar(int64_t step, absl::string_view tag, double value) {
  return std::isfinite(value) ? WriteRecord(EncodeScalar(Now_s(), step, tag, value)) : absl::OkStatus();
}

absl::Status TensorBoardWriter::WriteStep(const StepRecord& record) {
  for (const StepField& field : StepFields()) {
    RETURN_IF_ERROR(WriteScalar(record.step, TensorBoardTag(field), record.*field.member));
  }
  if (std::fflush(file_) != 0)
    return absl::UnavailableError(absl::StrCat("cannot write to ", path_, ": is the disk full?"));
  return absl::OkStatus();
}

}  // namespace tactus
