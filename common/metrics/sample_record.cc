#include "common/metrics/sample_record.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/json_field.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

constexpr JsonLimits kLimits = {.max_bytes = size_t{16} << 20, .max_depth = 4, .max_values = size_t{1} << 22};

// What older builds did not write, or not every line has.
template <typename Reader, typename Value>
absl::Status ReadIfThere(const JsonField& line, const char* key, Reader reader, Value* out) {
  ASSIGN_OR_RETURN(const JsonField field, line.Member(key));
  if (field.is_null()) return absl::OkStatus();
  ASSIGN_OR_RETURN(*out, (field.*reader)());
  return absl::OkStatus();
}

absl::Status ReadVersions(const JsonField& line, std::vector<SampleSpan>* out) {
  ASSIGN_OR_RETURN(const JsonField field, line.Member("versions"));
  if (field.is_null()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const size_t size, field.ArraySize());
  for (size_t i = 0; i < size; ++i) {
    const JsonField item = field.Element(i);
    SampleSpan& span = out->emplace_back();
    JSON_MEMBER(span.start_token, item, "start_token", Integer());
    JSON_MEMBER(span.version, item, "version", String());
  }
  return absl::OkStatus();
}

absl::Status CheckIndices(const JsonField& line, const char* key, const std::vector<int32_t>& indices, const char* of,
                          size_t size) {
  for (size_t i = 0; i < indices.size(); ++i) {
    if (static_cast<size_t>(indices[i]) >= size || (i > 0 && indices[i] <= indices[i - 1])) {
      return line.Error(absl::StrCat(key, ": expected increasing indices into ", of));
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
  if (!record.source.empty()) json["source"] = record.source;
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
  if (!record.sampled.empty()) json["sampled"] = record.sampled;
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

absl::StatusOr<SampleRecord> SampleRecordFromJson(absl::string_view text) {
  constexpr absl::string_view kSource = "sample line";
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text, kSource, kLimits));
  const JsonField line(json, kSource);
  SampleRecord record;
  JSON_MEMBER(record.step, line, "step", Integer());
  JSON_MEMBER(record.version, line, "version", String());
  JSON_MEMBER(record.prompt_id, line, "prompt_id", Unsigned());
  JSON_MEMBER(record.completion, line, "completion", IntegerIn(0, std::numeric_limits<int>::max()));
  JSON_MEMBER(record.reward, line, "reward", Number());
  JSON_MEMBER(record.correct, line, "correct", Bool());
  JSON_MEMBER(record.reason, line, "reason", String());
  JSON_MEMBER(record.prompt, line, "prompt", String());
  JSON_MEMBER(record.text, line, "text", String());
  JSON_MEMBER(record.tokens, line, "tokens", Strings());
  JSON_MEMBER(record.gamma, line, "gamma", Numbers());
  JSON_MEMBER(record.logprobs, line, "logprobs", Numbers());
  RETURN_IF_ERROR(ReadIfThere(line, "source", &JsonField::String, &record.source));
  RETURN_IF_ERROR(ReadIfThere(line, "entropy", &JsonField::Numbers, &record.entropy));
  RETURN_IF_ERROR(ReadIfThere(line, "prompt_ids", &JsonField::Indices, &record.prompt_ids));
  RETURN_IF_ERROR(ReadIfThere(line, "token_ids", &JsonField::Indices, &record.token_ids));
  RETURN_IF_ERROR(ReadVersions(line, &record.versions));
  RETURN_IF_ERROR(ReadIfThere(line, "sampled", &JsonField::Indices, &record.sampled));
  RETURN_IF_ERROR(ReadIfThere(line, "waad", &JsonField::Numbers, &record.waad));
  RETURN_IF_ERROR(ReadIfThere(line, "fai", &JsonField::Numbers, &record.fai));
  RETURN_IF_ERROR(ReadIfThere(line, "layers", &JsonField::Indices, &record.layers));
  RETURN_IF_ERROR(ReadIfThere(line, "span", &JsonField::Numbers, &record.span));
  RETURN_IF_ERROR(ReadIfThere(line, "local_heads", &JsonField::Indices, &record.local_heads));
  RETURN_IF_ERROR(ReadIfThere(line, "global_heads", &JsonField::Indices, &record.global_heads));
  RETURN_IF_ERROR(CheckLengths(record));
  RETURN_IF_ERROR(CheckIndices(line, "sampled", record.sampled, "tokens", record.tokens.size()));
  RETURN_IF_ERROR(CheckIndices(line, "local_heads", record.local_heads, "span", record.span.size()));
  RETURN_IF_ERROR(CheckIndices(line, "global_heads", record.global_heads, "span", record.span.size()));
  return record;
}

}  // namespace tactus
