#include "common/metrics/tensorboard_writer.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/status_macros.h"

static_assert(std::endian::native == std::endian::little, "TFRecord and protobuf fixed fields are little-endian");

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

void AppendVarint(uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

// Protobuf wire types: 0 varint, 1 fixed64, 2 length-delimited, 5 fixed32.
void AppendBytesField(int number, absl::string_view bytes, std::string* out) {
  AppendVarint(static_cast<uint64_t>(number) << 3 | 2, out);
  AppendVarint(bytes.size(), out);
  out->append(bytes.data(), bytes.size());
}

// Event.summary = 5 { value = 1 { tag = 1, simple_value = 2 (float) } }
std::string ScalarPayload(absl::string_view tag, double value) {
  std::string item;
  AppendBytesField(1, tag, &item);
  AppendVarint(2 << 3 | 5, &item);
  AppendRaw(static_cast<float>(value), &item);
  std::string summary, payload;
  AppendBytesField(1, item, &summary);
  AppendBytesField(5, summary, &payload);
  return payload;
}

std::string Tag(absl::string_view key) {
  if (absl::StartsWith(key, "phase_") || key == "step_time_s") return absl::StrCat("time/", key);
  if (absl::StartsWith(key, "mismatch_") || absl::StartsWith(key, "staleness_") || key == "tis_mean") {
    return absl::StrCat("health/", key);
  }
  if (key == "eval_pass1") return "eval/pass1";
  return absl::StrCat("train/", key);
}

}  // namespace

uint32_t Crc32c(absl::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = MakeCrcTable();
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

absl::StatusOr<std::unique_ptr<TensorBoardWriter>> TensorBoardWriter::Open(const std::string& folder,
                                                                           int64_t first_step) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::UnavailableError(absl::StrCat("cannot make the folder ", folder, ": ", error.message(), "."));
  const std::string path =
      absl::StrCat(folder, "/events.out.tfevents.", absl::Dec(absl::ToUnixSeconds(absl::Now()), absl::kZeroPad10),
                   ".tactus.", getpid());
  std::FILE* file = std::fopen(path.c_str(), "wbe");
  if (file == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  auto writer = std::unique_ptr<TensorBoardWriter>(new TensorBoardWriter(path, file));
  std::string version;
  AppendBytesField(3, "brain.Event:2", &version);
  RETURN_IF_ERROR(writer->WriteEvent(0, version));
  std::string session, start;
  AppendVarint(1 << 3, &start);  // SessionLog.status = START (1)
  AppendVarint(1, &start);
  AppendBytesField(7, start, &session);
  RETURN_IF_ERROR(writer->WriteEvent(first_step, session));
  return writer;
}

TensorBoardWriter::~TensorBoardWriter() { std::fclose(file_); }

absl::Status TensorBoardWriter::WriteEvent(int64_t step, absl::string_view payload) {
  std::string event;
  AppendVarint(1 << 3 | 1, &event);  // wall_time
  AppendRaw(absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()), &event);
  AppendVarint(2 << 3, &event);  // step
  AppendVarint(static_cast<uint64_t>(step), &event);
  event.append(payload.data(), payload.size());

  std::string record;
  AppendRaw(uint64_t{event.size()}, &record);
  AppendRaw(MaskedCrc(record), &record);
  record += event;
  AppendRaw(MaskedCrc(event), &record);
  if (std::fwrite(record.data(), 1, record.size(), file_) != record.size()) {
    return absl::UnavailableError(absl::StrCat("cannot write to ", path_, ": is the disk full?"));
  }
  return absl::OkStatus();
}

absl::Status TensorBoardWriter::WriteScalar(int64_t step, absl::string_view tag, double value) {
  return std::isfinite(value) ? WriteEvent(step, ScalarPayload(tag, value)) : absl::OkStatus();
}

absl::Status TensorBoardWriter::WriteStep(const StepRecord& record) {
  for (const StepField& field : StepFields()) {
    RETURN_IF_ERROR(WriteScalar(record.step, Tag(field.key), record.*field.member));
  }
  if (std::fflush(file_) != 0)
    return absl::UnavailableError(absl::StrCat("cannot write to ", path_, ": is the disk full?"));
  return absl::OkStatus();
}

}  // namespace tactus
