#include "common/metrics/sample_record.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

constexpr JsonLimits kLimits = {.max_bytes = size_t{16} << 20, .max_depth = 4, .max_values = size_t{1} << 22};

absl::Status Wrong(const char* key, const char* expected) {
  return absl::InvalidArgumentError(absl::StrCat("sample line: \"", key, "\" is missing or is not ", expected, "."));
}

absl::Status Read(const Json& json, const char* key, std::string* out) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_string()) return Wrong(key, "a string");
  *out = it->get<std::string>();
  return absl::OkStatus();
}

template <typename T>
absl::Status ReadNumber(const Json& json, const char* key, T* out) {
  const auto it = json.find(key);
  if (it == json.end() || !(std::is_integral_v<T> ? it->is_number_integer() : it->is_number())) {
    return Wrong(key, "a number");
  }
  *out = it->get<T>();
  return absl::OkStatus();
}

template <typename T>
absl::Status ReadList(const Json& json, const char* key, std::vector<T>* out) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_array()) return Wrong(key, "a list");
  for (const Json& item : *it) {
    if (!(std::is_same_v<T, std::string> ? item.is_string() : item.is_number()))
      return Wrong(key, "a list of its type");
    out->push_back(item.get<T>());
  }
  return absl::OkStatus();
}

}  // namespace

std::string SampleRecordToJson(const SampleRecord& record) {
  Json json;
  json["step"] = record.step;
  json["version"] = record.version;
  json["prompt_id"] = record.prompt_id;
  json["completion"] = record.completion;
  json["reward"] = record.reward;
  json["correct"] = record.correct;
  json["reason"] = record.reason;
  json["prompt"] = record.prompt;
  json["text"] = record.text;
  json["tokens"] = record.tokens;
  json["gamma"] = record.gamma;
  json["logprobs"] = record.logprobs;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<SampleRecord> SampleRecordFromJson(absl::string_view line) {
  ASSIGN_OR_RETURN(const Json json, ParseStrictJson(line, "sample line", kLimits));
  if (!json.is_object()) return absl::InvalidArgumentError("sample line: expected a JSON object.");
  SampleRecord record;
  RETURN_IF_ERROR(ReadNumber(json, "step", &record.step));
  RETURN_IF_ERROR(Read(json, "version", &record.version));
  RETURN_IF_ERROR(ReadNumber(json, "prompt_id", &record.prompt_id));
  RETURN_IF_ERROR(ReadNumber(json, "completion", &record.completion));
  RETURN_IF_ERROR(ReadNumber(json, "reward", &record.reward));
  const auto correct = json.find("correct");
  if (correct == json.end() || !correct->is_boolean()) return Wrong("correct", "true or false");
  record.correct = correct->get<bool>();
  RETURN_IF_ERROR(Read(json, "reason", &record.reason));
  RETURN_IF_ERROR(Read(json, "prompt", &record.prompt));
  RETURN_IF_ERROR(Read(json, "text", &record.text));
  RETURN_IF_ERROR(ReadList(json, "tokens", &record.tokens));
  RETURN_IF_ERROR(ReadList(json, "gamma", &record.gamma));
  RETURN_IF_ERROR(ReadList(json, "logprobs", &record.logprobs));
  if (record.gamma.size() != record.tokens.size() || record.logprobs.size() != record.tokens.size()) {
    return absl::InvalidArgumentError("sample line: tokens, gamma and logprobs differ in length.");
  }
  return record;
}

}  // namespace tactus
