#include "common/metrics/jsonl_writer.h"

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/metrics/run_lines.h"

namespace tactus {

absl::StatusOr<std::unique_ptr<JsonlWriter>> JsonlWriter::Open(const std::string& path, int64_t keep_through_step) {
  RETURN_IF_ERROR(CutRunLines(path, keep_through_step));
  ASSIGN_OR_RETURN(std::FILE* const file, OpenToAppend(path));
  return std::unique_ptr<JsonlWriter>(new JsonlWriter(path, file));
}

absl::StatusOr<std::FILE*> JsonlWriter::OpenToAppend(const std::string& path) {
  std::FILE* const file = std::fopen(path.c_str(), "ae");
  if (file == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  return file;
}

JsonlWriter::~JsonlWriter() { std::fclose(file_); }

absl::Status JsonlWriter::HalveAbove(int64_t max_bytes) {
  if (std::fseek(file_, 0, SEEK_END) != 0 || std::ftell(file_) <= max_bytes) return absl::OkStatus();
  RETURN_IF_ERROR(HalveRunLines(path_));
  ASSIGN_OR_RETURN(std::FILE* const halved, OpenToAppend(path_));
  std::fclose(std::exchange(file_, halved));
  return absl::OkStatus();
}

absl::Status JsonlWriter::WriteLine(std::string line) {
  line.push_back('\n');
  if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot write to ", path_, ": is the disk full?"));
  }
  return absl::OkStatus();
}

}  // namespace tactus
