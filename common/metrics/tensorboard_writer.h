// Writes scalars as an event file that TensorBoard reads.
//
// The file is a sequence of TFRecords: uint64 length, masked CRC-32C of the length, the bytes, masked CRC-32C of the
// bytes; the bytes are an Event of proto/tensorboard_event.proto. Not thread-safe. Blocking writes.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/metrics/step_record.h"

namespace tactus {

class TensorBoardWriter {
 public:
  // Makes `folder` if needed and a new event file in it. first_step is the first that will be written: TensorBoard then
  // discards later steps of an earlier, interrupted run.
  static absl::StatusOr<std::unique_ptr<TensorBoardWriter>> Open(const std::string& folder, int64_t first_step);
  ~TensorBoardWriter();
  TensorBoardWriter(const TensorBoardWriter&) = delete;
  TensorBoardWriter& operator=(const TensorBoardWriter&) = delete;

  // Values that are not finite are left out. Unavailable when the disk refuses.
  absl::Status WriteScalar(int64_t step, absl::string_view tag, double value);
  // Every number of the record that was measured, under its row's tag, flushed.
  absl::Status WriteStep(const StepRecord& record);

  const std::string& path() const { return path_; }  // of this writer's file

 private:
  TensorBoardWriter(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}
  absl::Status WriteRecord(absl::string_view event);
  std::string path_;
  std::FILE* file_;
};

// CRC-32C (Castagnoli), reflected, as TFRecord uses it.
uint32_t Crc32c(absl::string_view bytes);

}  // namespace tactus
