#include "common/metrics/held_out.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/json_lines.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

absl::StatusOr<HeldOutRecord> ReadRecord(const JsonField& line) {
  HeldOutRecord record;
  JSON_MEMBER(record.step, line, "step", Integer());
  JSON_MEMBER(record.pass1, line, "pass1", Number());
  JSON_MEMBER(record.low, line, "low", Number());
  JSON_MEMBER(record.high, line, "high", Number());
  return record;
}

}  // namespace

absl::Status AppendHeldOut(const std::string& path, const HeldOutRecord& record) {
  const nlohmann::ordered_json json = {
      {"step", record.step}, {"pass1", record.pass1}, {"low", record.low}, {"high", record.high}};
  std::ofstream file(path, std::ios::app);
  file << json.dump() + "\n" << std::flush;
  return file ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("cannot write to ", path, "."));
}

absl::StatusOr<std::vector<HeldOutRecord>> ReadHeldOut(const std::string& path) {
  std::vector<HeldOutRecord> records;
  if (!std::filesystem::exists(path)) return records;
  RETURN_IF_ERROR(ForEachJsonLine(path, [&records](const JsonField& line) -> absl::Status {
    ASSIGN_OR_RETURN(records.emplace_back(), ReadRecord(line));
    return absl::OkStatus();
  }));
  return records;
}

void JoinHeldOut(const std::vector<HeldOutRecord>& measured, StepRecord* record) {
  for (const HeldOutRecord& held_out : measured) {
    if (std::max<int64_t>(1, held_out.step) == record->step) record->eval_pass1 = held_out.pass1;
  }
}

}  // namespace tactus
