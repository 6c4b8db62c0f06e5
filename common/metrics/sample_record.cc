#include "common/metrics/sample_record.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

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
bool Holds(const Json& item) {
  if constexpr (std::is_same_v<T, std::string>) return item.is_string();
  if constexpr (std::is_same_v<T, double>) return item.is_number();
  if constexpr (std::is_same_v<T, int32_t>) {  // an index or an id
    return item.is_number_integer() && item >= 0 && item <= std::numeric_limits<int32_t>::max();
  }
}

template <typename T>
absl::Status ReadList(const Json& json, const char* key, std::vector<T>* out) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_array()) return Wrong(key, "a list");
  for (const Json& item : *it) {
    if (!Holds<T>(item)) return Wrong(key, "a list of its type");
    out->push_back(item.get<T>());
  }
  return absl::OkStatus();
}

// Older builds did not write it.
template <typename T>
absl::Status ReadLaterList(const Json& json, const char* key, std::vector<T>* out) {
  return json.contains(key) ? ReadList(json, key, out) : absl::OkStatus();
}

absl::Status ReadVersions(const Json& json, std::vector<SampleSpan>* out) {
  const auto it = json.find("versions");
  if (it == json.end()) return absl::OkStatus();
  if (!it->is_array()) return Wrong("versions", "a list");
  for (const Json& item : *it) {
    if (!item.is_object()) return Wrong("versions", "a list of objects");
    SampleSpan& span = out->emplace_back();
    RETURN_IF_ERROR(ReadNumber(item, "start_token", &span.start_token));
    RETURN_IF_ERROR(Read(item, "version", &span.version));
  }
  return absl::OkStatus();
}

absl::Status CheckHeads(const char* key, const std::vector<int32_t>& heads, size_t num_heads) {
  for (size_t i = 0; i < heads.size(); ++i) {
    if (static_cast<size_t>(heads[i]) >= num_heads || (i > 0 && heads[i] <= heads[i - 1])) {
      return Wrong(key, "a list of increasing indices into \"span\"");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLengths(const SampleRecord& record) {
  const size_t tokens = record.tokens.size();
  const auto fits = [tokens](const auto& list, bool required) {
    return list.size() == tokens || (!required && list.empty());
  };
  if (!fits(record.gamma, true) || !fits(record.logprobs, true)) {
    return absl::InvalidArgumentError("sample line: tokens, gamma and logprobs differ in length.");
  }
  if (!fits(record.token_ids, false) || !fits(record.entropy, false) || !fits(record.waad, false) ||
      record.fai.size() != record.waad.size()) {
    return absl::InvalidArgumentError(
        "sample line: token_ids, entropy, waad or fai has another length than tokens, or only one of waad and fai is "
        "there.");
  }
  if (!record.layers.empty() && record.span.size() % record.layers.size() != 0) {
    return absl::InvalidArgumentError(absl::StrCat("sample line: \"span\" has ", record.span.size(),
                                                   " heads, expected the same number for each of the ",
                                                   record.layers.size(), " \"layers\"."));
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
  json["entropy"] = record.entropy;
  json["prompt_ids"] = record.prompt_ids;
  json["token_ids"] = record.token_ids;
  json["versions"] = Json::array();
  for (const SampleSpan& span : record.versions) {
    json["versions"].push_back({{"start_token", span.start_token}, {"version", span.version}});
  }
  if (!record.waad.empty()) {
    json["waad"] = record.waad;
    json["fai"] = record.fai;
    json["layers"] = record.layers;
    json["span"] = record.span;
    json["local_heads"] = record.local_heads;
    json["global_heads"] = record.global_heads;
  }
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
  RETURN_IF_ERROR(ReadLaterList(json, "entropy", &record.entropy));
  RETURN_IF_ERROR(ReadLaterList(json, "prompt_ids", &record.prompt_ids));
  RETURN_IF_ERROR(ReadLaterList(json, "token_ids", &record.token_ids));
  RETURN_IF_ERROR(ReadVersions(json, &record.versions));
  RETURN_IF_ERROR(ReadLaterList(json, "waad", &record.waad));
  RETURN_IF_ERROR(ReadLaterList(json, "fai", &record.fai));
  RETURN_IF_ERROR(ReadLaterList(json, "layers", &record.layers));
  RETURN_IF_ERROR(ReadLaterList(json, "span", &record.span));
  RETURN_IF_ERROR(ReadLaterList(json, "local_heads", &record.local_heads));
  RETURN_IF_ERROR(ReadLaterList(json, "global_heads", &record.global_heads));
  RETURN_IF_ERROR(CheckLengths(record));
  RETURN_IF_ERROR(CheckHeads("local_heads", record.local_heads, record.span.size()));
  RETURN_IF_ERROR(CheckHeads("global_heads", record.global_heads, record.span.size()));
  return record;
}

}  // namespace tactus
