#include "common/metrics/held_out.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"

namespace tactus {
namespace {

absl::StatusOr<HeldOutRecord> FromJson(const std::string& line, const std::string& source) {
  ASSIGN_OR_RETURN(const nlohmann::ordered_json json,
                   ParseStrictJson(line, source, {.max_bytes = 4096, .max_depth = 2, .max_values = 16}));
  const auto number = [&](const char* key) { return json.is_object() && json.contains(key) && json[key].is_number(); };
  if (!number("step") || !json["step"].is_number_integer() || !number("pass1") || !number("low") || !number("high")) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": expected a whole number \"step\" and numbers \"pass1\", \"low\" and \"high\"."));
  }
  return HeldOutRecord{.step = json["step"].get<int64_t>(),
                       .pass1 = json["pass1"].get<double>(),
                       .low = json["low"].get<double>(),
                       .high = json["high"].get<double>()};
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
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, size_t{1} << 20));
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ASSIGN_OR_RETURN(records.emplace_back(), FromJson(line, absl::StrCat(path, ":", ++number)));
  }
  return records;
}

void JoinHeldOut(const std::vector<HeldOutRecord>& measured, StepRecord* record) {
  for (const HeldOutRecord& held_out : measured) {
    if (std::max<int64_t>(1, held_out.step) == record->step) record->eval_pass1 = held_out.pass1;
  }
}

}  // namespace tactus
