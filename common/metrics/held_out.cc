#include "common/metrics/held_out.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/json_field.h"
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
  return record;
}

}  // namespace

absl::Status AppendHeldOut(const std::string& path, const HeldOutRecord& record) {
  const nlohmann::ordered_json json = {
      {"step", record.step}, {"pass1", record.pass1}, {"low", record.low}, {"high", record.high}};
  const auto nothing = [](absl::string_view) { return absl::OkStatus(); };
  const absl::StatusOr<LineDamage> before = ForEachRunLine(path, nothing);
  const bool torn = before.ok() && before->torn;  // by a kill: what is written now must not be part of it
  std::ofstream file(path, std::ios::app);
  file << (torn ? "\n" : "") << json.dump() << '\n' << std::flush;
  return file ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("cannot write to ", path, "."));
}

absl::StatusOr<std::vector<HeldOutRecord>> ReadHeldOut(const std::string& path) {
  std::vector<HeldOutRecord> records;
  const absl::Status read = ReadRunLines(path, [&records](absl::string_view line) -> absl::Status {
    ASSIGN_OR_RETURN(const HeldOutRecord record, ReadRecord(line));
    records.push_back(record);
    return absl::OkStatus();
  });
  if (!read.ok() && !absl::IsNotFound(read)) return read;
  return records;
}

void JoinHeldOut(const std::vector<HeldOutRecord>& measured, StepRecord* record) {
  for (const HeldOutRecord& held_out : measured) {
    if (std::max<int64_t>(1, held_out.step) == record->step) record->eval_pass1 = held_out.pass1;
  }
}

}  // namespace tactus
