#include "common/metrics/held_out.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json_field.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "common/metrics/run_lines.h"

namespace tactus {
namespace {

constexpr absl::string_view kSource = "held-out line";

absl::StatusOr<HeldOutRecord> ReadRecord(absl::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text, kSource));
  const JsonField line(json, kSource);
  HeldOutRecord record;
  JSON_MEMBER(record.step, line, "step", Integer());
  JSON_MEMBER(record.pass1, line, "pass1", Number());
  JSON_MEMBER(record.low, line, "low", Number());
  JSON_MEMBER(record.high, line, "high", Number());
  ASSIGN_OR_RETURN(const JsonField set, line.Member("set"));
  if (!set.is_null()) {
    ASSIGN_OR_RETURN(record.set, set.String());
  }
  ASSIGN_OR_RETURN(const JsonField samples, line.Member("samples"));
  if (samples.is_null()) return record;
  ASSIGN_OR_RETURN(record.samples, samples.Integer());
  JSON_MEMBER(record.temperature, line, "temperature", Number());
  JSON_MEMBER(record.version, line, "version", String());
  if (record.samples <= 1) return record;
  JSON_MEMBER(record.pass_k, line, "pass_k", Number());
  JSON_MEMBER(record.pass_k_low, line, "pass_k_low", Number());
  JSON_MEMBER(record.pass_k_high, line, "pass_k_high", Number());
  return record;
}

}  // namespace

absl::Status AppendHeldOut(const std::string& path, const HeldOutRecord& record) {
  nlohmann::ordered_json json = {
      {"step", record.step}, {"pass1", record.pass1}, {"low", record.low}, {"high", record.high}};
  if (record.samples > 0) {
    json["samples"] = record.samples;
    json["temperature"] = record.temperature;
    json["version"] = record.version;
  }
  if (record.samples > 1) {
    json["pass_k"] = record.pass_k;
    json["pass_k_low"] = record.pass_k_low;
    json["pass_k_high"] = record.pass_k_high;
  }
  if (!record.set.empty()) json["set"] = record.set;
  const auto nothing = [](absl::string_view) { return absl::OkStatus(); };
  const absl::StatusOr<LineDamage> before = ForEachRunLine(path, nothing);
  const bool torn = before.ok() && before->torn;  // by a kill: what is written now must not be part of it
  std::ofstream file(path, std::ios::app);
  file << (torn ? "\n" : "") << json.dump() << '\n' << std::flush;
  return file ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("cannot write to ", path, "."));
}

absl::StatusOr<std::vector<HeldOutRecord>> ReadHeldOut(const std::string& path) {
  ASSIGN_OR_RETURN(std::vector<HeldOutRecord> records, ReadHeldOutSets(path));
  std::erase_if(records, [](const HeldOutRecord& record) { return !record.set.empty(); });
  return records;
}

absl::StatusOr<std::vector<HeldOutRecord>> ReadHeldOutSets(const std::string& path) {
  std::vector<HeldOutRecord> records;
  const absl::Status read = ReadRunLines(path, [&records](absl::string_view line) -> absl::Status {
    ASSIGN_OR_RETURN(const HeldOutRecord record, ReadRecord(line));
    records.push_back(record);
    return absl::OkStatus();
  });
  if (!read.ok() && !absl::IsNotFound(read)) return read;
  return records;
}

absl::StatusOr<std::optional<BestCheckpoint>> FindBestCheckpoint(const RunFolder& folder) {
  std::optional<BestCheckpoint> best;
  const absl::StatusOr<std::vector<std::string>> names = ListFolder(folder.best());
  if (absl::IsNotFound(names.status())) return best;
  RETURN_IF_ERROR(names.status());
  ASSIGN_OR_RETURN(const std::vector<HeldOutRecord> measured, ReadHeldOut(folder.held_out()));
  for (const HeldOutRecord& record : measured) {  // two only where a kill came between two renames
    const std::string name = CheckpointName(record.step);
    if (std::find(names->begin(), names->end(), name) == names->end()) continue;
    if (best.has_value() && record.pass1 <= best->held_out.pass1) continue;
    best = BestCheckpoint{.path = absl::StrCat(folder.best(), "/", name), .held_out = record};
  }
  return best;
}

absl::Status KeepIfBest(const RunFolder& folder, const std::string& path, const HeldOutRecord& held_out) {
  ASSIGN_OR_RETURN(const std::optional<BestCheckpoint> before, FindBestCheckpoint(folder));
  const std::string kept = absl::StrCat(folder.best(), "/", CheckpointName(held_out.step));
  if (IsFolder(kept) || (before.has_value() && before->held_out.pass1 >= held_out.pass1)) return absl::OkStatus();
  RETURN_IF_ERROR(MakeFolders(folder.best()));
  RETURN_IF_ERROR(LinkFolder(path, absl::StrCat(kept, ".tmp")));
  RETURN_IF_ERROR(PublishFolder(absl::StrCat(kept, ".tmp"), kept));
  return before.has_value() ? RemoveFolder(before->path) : absl::OkStatus();
}

std::vector<std::pair<const char*, double>> ScoresOf(const HeldOutRecord& measured) {
  std::vector<std::pair<const char*, double>> scores = {
      {"pass_1", measured.pass1}, {"pass_1_low", measured.low}, {"pass_1_high", measured.high}};
  if (measured.samples > 1) {
    scores.insert(
        scores.end(),
        {{"pass_k", measured.pass_k}, {"pass_k_low", measured.pass_k_low}, {"pass_k_high", measured.pass_k_high}});
  }
  return scores;
}

void SetHeldOut(const HeldOutRecord& measured, StepRecord* record) {
  record->eval_pass1 = measured.pass1;
  if (measured.samples > 1) record->eval_pass_k = measured.pass_k;
}

void JoinHeldOut(const std::vector<HeldOutRecord>& measured, StepRecord* record) {
  for (const HeldOutRecord& held_out : measured) {
    if (held_out.set.empty() && std::max<int64_t>(1, held_out.step) == record->step) SetHeldOut(held_out, record);
  }
}

}  // namespace tactus
