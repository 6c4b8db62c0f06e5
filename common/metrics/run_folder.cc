#include "common/metrics/run_folder.h"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

constexpr size_t kMaxFileBytes = size_t{4} << 30;
constexpr size_t kMaxPartialBytes = size_t{1} << 20;
constexpr size_t kChunkBytes = size_t{1} << 16;

// Calls visit(line, number, last and torn) for each line.
template <typename Visit>
absl::Status ForEachLine(absl::string_view text, const Visit& visit) {
  int number = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    RETURN_IF_ERROR(visit(text.substr(0, end), ++number, end == absl::string_view::npos));
    if (end == absl::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return absl::OkStatus();
}

absl::Status WithLine(const std::string& path, int number, const absl::Status& status) {
  return absl::InvalidArgumentError(absl::StrCat(path, ":", number, ": ", status.message()));
}

}  // namespace

absl::StatusOr<std::vector<StepRecord>> ReadSteps(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  std::vector<StepRecord> steps;
  RETURN_IF_ERROR(ForEachLine(text, [&](absl::string_view line, int number, bool torn) {
    absl::StatusOr<StepRecord> record = StepRecordFromJson(line);
    if (record.ok()) steps.push_back(*std::move(record));
    return record.ok() || torn ? absl::OkStatus() : WithLine(path, number, record.status());
  }));
  return steps;
}

absl::StatusOr<std::vector<SampleRecord>> ReadSamples(const std::string& path, size_t first, size_t last) {
  if (!std::filesystem::exists(path)) return std::vector<SampleRecord>();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  std::deque<std::pair<absl::string_view, int>> kept;  // parsing all of a long run's samples would take long
  RETURN_IF_ERROR(ForEachLine(text, [&](absl::string_view line, int number, bool torn) {
    if (!torn) kept.emplace_back(line, number);
    if (kept.size() > first + last) kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(first));
    return absl::OkStatus();
  }));
  std::vector<SampleRecord> samples;
  for (const auto& [line, number] : kept) {
    absl::StatusOr<SampleRecord> record = SampleRecordFromJson(line);
    if (!record.ok()) return WithLine(path, number, record.status());
    samples.push_back(*std::move(record));
  }
  return samples;
}

std::string NewestCheckpoint(const RunFolder& folder) {
  std::string newest;
  int64_t newest_step = -1;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder.checkpoints(), error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    int64_t step = 0;
    if (absl::StartsWith(name, "step-") && absl::SimpleAtoi(name.substr(5), &step) && step > newest_step) {
      newest_step = step;
      newest = it->path().string();
    }
  }
  return newest;
}

std::vector<StepRecord> StepFollower::Poll() {
  std::vector<StepRecord> records;
  std::ifstream file(path_, std::ios::binary);
  if (!file.seekg(static_cast<std::streamoff>(offset_))) return records;
  std::string chunk(kChunkBytes, '\0');
  while (file.read(chunk.data(), static_cast<std::streamsize>(chunk.size())), file.gcount() > 0) {
    offset_ += static_cast<uint64_t>(file.gcount());
    partial_.append(chunk.data(), static_cast<size_t>(file.gcount()));
    size_t start = 0;
    for (size_t end; (end = partial_.find('\n', start)) != std::string::npos; start = end + 1) {
      absl::StatusOr<StepRecord> record = StepRecordFromJson(absl::string_view(partial_).substr(start, end - start));
      if (record.ok()) records.push_back(*std::move(record));
    }
    partial_.erase(0, start);
    if (partial_.size() > kMaxPartialBytes) partial_.clear();
  }
  return records;
}

}  // namespace tactus
