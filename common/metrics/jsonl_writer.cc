#include "common/metrics/jsonl_writer.h"

#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

// Both kinds of line carry "step" first; what does not parse is dropped with the lines after it.
bool Keep(absl::string_view line, int64_t keep_through_step) {
  const auto json = nlohmann::json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return false;
  const auto step = json.find("step");
  return step != json.end() && step->is_number_integer() && step->get<int64_t>() <= keep_through_step;
}

absl::Status DropAfter(const std::string& path, int64_t keep_through_step) {
  if (!std::filesystem::is_regular_file(path)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, size_t{4} << 30));
  size_t kept = 0;
  while (kept < text.size()) {
    const size_t end = text.find('\n', kept);
    if (end == std::string::npos || !Keep(absl::string_view(text).substr(kept, end - kept), keep_through_step)) break;
    kept = end + 1;
  }
  if (kept == text.size()) return absl::OkStatus();
  return WriteFileAtomic(path, absl::string_view(text).substr(0, kept));
}

}  // namespace

absl::StatusOr<std::unique_ptr<JsonlWriter>> JsonlWriter::Open(const std::string& path, int64_t keep_through_step) {
  RETURN_IF_ERROR(DropAfter(path, keep_through_step));
  std::FILE* file = std::fopen(path.c_str(), "ae");
  if (file == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  return std::unique_ptr<JsonlWriter>(new JsonlWriter(path, file));
}

JsonlWriter::~JsonlWriter() { std::fclose(file_); }

absl::Status JsonlWriter::WriteLine(std::string line) {
  line.push_back('\n');
  if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot write to ", path_, ": is the disk full?"));
  }
  return absl::OkStatus();
}

}  // namespace tactus
