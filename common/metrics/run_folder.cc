#include "common/metrics/run_folder.h"

#include <algorithm>
#include <deque>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/log.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/metrics/run_lines.h"

namespace tactus {
namespace {

constexpr size_t kMaxPartialBytes = size_t{1} << 20;
constexpr size_t kChunkBytes = size_t{1} << 16;

}  // namespace

absl::StatusOr<std::vector<StepRecord>> ReadSteps(const std::string& path) {
  std::vector<StepRecord> steps;
  RETURN_IF_ERROR(ReadRunLines(path, [&steps](absl::string_view line) -> absl::Status {
    ASSIGN_OR_RETURN(StepRecord record, StepRecordFromJson(line));
    steps.push_back(std::move(record));
    return absl::OkStatus();
  }));
  return steps;
}

absl::StatusOr<std::vector<SampleRecord>> ReadSamples(const std::string& path, size_t first, size_t last) {
  std::deque<std::string> kept;  // parsing all of a long run's samples would take long
  const absl::StatusOr<LineDamage> read = ForEachRunLine(path, [&](absl::string_view line) {
    kept.emplace_back(line);
    if (kept.size() > first + last) kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(first));
    return absl::OkStatus();
  });
  if (absl::IsNotFound(read.status())) return std::vector<SampleRecord>();
  RETURN_IF_ERROR(read.status());
  std::vector<SampleRecord> samples;
  for (const std::string& line : kept) {
    absl::StatusOr<SampleRecord> record = SampleRecordFromJson(line);
    if (record.ok()) {
      samples.push_back(*std::move(record));
    } else {
      TACTUS_LOG(WARNING) << path << ": a damaged line is left out: " << record.status().message();
    }
  }
  return samples;
}

std::string CheckpointName(int64_t step) { return absl::StrFormat("step-%06d", step); }

std::string NewestCheckpoint(const RunFolder& folder) {
  std::string newest;
  int64_t newest_step = -1;
  for (const std::string& name : ListFolder(folder.checkpoints()).value_or(std::vector<std::string>())) {
    int64_t step = 0;
    if (absl::StartsWith(name, "step-") && absl::SimpleAtoi(name.substr(5), &step) && step > newest_step) {
      newest_step = step;
      newest = absl::StrCat(folder.checkpoints(), "/", name);
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
