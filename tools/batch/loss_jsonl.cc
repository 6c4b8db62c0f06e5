#include "tools/batch/loss_jsonl.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "learner/algo/advantage.h"
#include "learner/algo/policy_loss.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

struct Matrix {
  size_t columns = 0;
  std::vector<double> values;  // [B, T]
  std::span<const double> Row(size_t b) const { return std::span(values).subspan(b * columns, columns); }
};

struct LossInput {
  Json id;
  Estimator estimator = Estimator::kGrpo;
  PolicyLossOptions options;
  std::vector<double> rewards;         // [B]
  std::vector<std::string> group_ids;  // [B]
  size_t columns = 0;                  // T
  std::vector<uint8_t> mask;           // [B, T]
  Matrix logp_new, logp_old, logp_behavior, logp_reference, credit;
};

// Reads the fields of one object; the first broken rule is the error.
class LossReader {
 public:
  LossReader(const Json& object, absl::string_view where) : object_(object), where_(where) {}

  absl::StatusOr<LossInput> Read() {
    RETURN_IF_ERROR(CheckKeys());
    LossInput input;
    input.id = object_.value("id", Json());
    RETURN_IF_ERROR(ReadOptions(input));
    RETURN_IF_ERROR(ReadCompletions(input));
    RETURN_IF_ERROR(ReadMask(input));
    const PolicyLossOptions& options = input.options;
    RETURN_IF_ERROR(ReadMatrix("logp_new", true, input, input.logp_new));
    RETURN_IF_ERROR(ReadMatrix("logp_old", true, input, input.logp_old));
    RETURN_IF_ERROR(ReadMatrix("logp_behav", options.tis_cap.has_value(), input, input.logp_behavior));
    RETURN_IF_ERROR(ReadMatrix("logp_ref", options.kl_beta != 0, input, input.logp_reference));
    RETURN_IF_ERROR(ReadMatrix("gamma", options.sign_rule != CreditSignRule::kNone, input, input.credit));
    return input;
  }

 private:
  absl::Status Error(absl::string_view field, absl::string_view problem) const {
    return absl::InvalidArgumentError(absl::StrCat(where_, ": field \"", field, "\" ", problem, "."));
  }
  const Json* Find(const char* field) const {
    const auto found = object_.find(field);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  absl::Status CheckKeys() const {
    static constexpr const char* kKnown[] = {
        "id",   "estimator", "loss",      "agg",  "fixed_length", "eps_low",  "eps_high", "tis_cap",    "kl_beta",
        "sign", "rewards",   "group_ids", "mask", "gamma",        "logp_new", "logp_old", "logp_behav", "logp_ref"};
    for (const auto& item : object_.items()) {
      const bool known =
          std::any_of(std::begin(kKnown), std::end(kKnown), [&](const char* name) { return item.key() == name; });
      if (!known) return Error(item.key(), absl::StrCat("is unknown; known are ", absl::StrJoin(kKnown, ", ")));
    }
    if (Find("id") == nullptr) return Error("id", "is missing");
    return absl::OkStatus();
  }

  template <typename Enum>
  absl::Status ReadEnum(const char* field, const std::vector<std::pair<const char*, Enum>>& names, Enum& out) const {
    const Json* value = Find(field);
    for (const auto& [name, number] : names) {
      if (value != nullptr && value->is_string() && value->get_ref<const std::string&>() == name) {
        out = number;
        return absl::OkStatus();
      }
    }
    const auto quote = [](std::string* to, const auto& entry) { absl::StrAppend(to, "\"", entry.first, "\""); };
    return Error(field, absl::StrCat("must be one of ", absl::StrJoin(names, ", ", quote)));
  }

  // A finite number >= 0.
  absl::Status ReadNumber(const char* field, double& out) const {
    const Json* value = Find(field);
    if (value == nullptr || !value->is_number()) return Error(field, "must be a number");
    out = value->get<double>();
    if (!std::isfinite(out) || out < 0) return Error(field, "must be finite and at least 0");
    return absl::OkStatus();
  }

  absl::Status ReadOptions(LossInput& input) const {
    PolicyLossOptions& options = input.options;
    RETURN_IF_ERROR(ReadEnum<Estimator>(
        "estimator", {{"grpo", Estimator::kGrpo}, {"dr_grpo", Estimator::kDrGrpo}, {"rloo", Estimator::kRloo}},
        input.estimator));
    RETURN_IF_ERROR(ReadEnum<PolicyLossKind>(
        "loss", {{"clip", PolicyLossKind::kClip}, {"gspo", PolicyLossKind::kGspo}, {"cispo", PolicyLossKind::kCispo}},
        options.loss));
    RETURN_IF_ERROR(ReadEnum<LossAggregation>("agg",
                                              {{"token_mean", LossAggregation::kTokenMean},
                                               {"seq_mean", LossAggregation::kSeqMean},
                                               {"fixed_length", LossAggregation::kFixedLength}},
                                              options.aggregation));
    RETURN_IF_ERROR(ReadEnum<CreditSignRule>(
        "sign", {{"none", CreditSignRule::kNone}, {"v1", CreditSignRule::kV1}, {"v2", CreditSignRule::kV2}},
        options.sign_rule));
    RETURN_IF_ERROR(ReadNumber("eps_low", options.clip_low));
    RETURN_IF_ERROR(ReadNumber("eps_high", options.clip_high));
    RETURN_IF_ERROR(ReadNumber("kl_beta", options.kl_beta));
    if (Find("tis_cap") != nullptr) {
      double cap = 0;
      RETURN_IF_ERROR(ReadNumber("tis_cap", cap));
      options.tis_cap = cap;
    }
    if (options.aggregation == LossAggregation::kFixedLength) {
      const Json* value = Find("fixed_length");
      if (value == nullptr || !value->is_number_integer() || value->get<double>() < 1 || value->get<double>() > 1e15)
        return Error("fixed_length", "must be a whole number of at least 1 with agg \"fixed_length\"");
      options.fixed_length_tokens = value->get<int64_t>();
    }
    return absl::OkStatus();
  }

  absl::Status ReadCompletions(LossInput& input) const {
    const Json* rewards = Find("rewards");
    if (rewards == nullptr || !rewards->is_array() || rewards->empty())
      return Error("rewards", "must be a list of numbers, one per completion");
    for (const Json& reward : *rewards) {
      if (!reward.is_number() || !std::isfinite(reward.get<double>()))
        return Error("rewards",
                     absl::StrCat("must hold finite numbers, at index ", input.rewards.size(), " it does not"));
      input.rewards.push_back(reward.get<double>());
    }
    const Json* groups = Find("group_ids");
    if (groups == nullptr || !groups->is_array() || groups->size() != input.rewards.size())
      return Error("group_ids", absl::StrCat("must be a list of ", input.rewards.size(), " strings, as rewards has"));
    for (const Json& group : *groups) {
      if (!group.is_string())
        return Error("group_ids", absl::StrCat("must hold strings, at index ", input.group_ids.size(), " it does not"));
      input.group_ids.push_back(group.get<std::string>());
    }
    return absl::OkStatus();
  }

  // A [B][T] field's rows; T is that of the mask, which is read first.
  absl::StatusOr<const Json*> Rows(const char* field, size_t rows, std::optional<size_t> columns) const {
    const Json* value = Find(field);
    if (value == nullptr || !value->is_array() || value->size() != rows)
      return Error(field, absl::StrCat("must be a list of ", rows, " rows, one per reward"));
    for (size_t b = 0; b < rows; ++b) {
      const Json& row = (*value)[b];
      if (!row.is_array()) return Error(field, absl::StrCat("row ", b, " must be a list"));
      if (!columns.has_value()) columns = row.size();
      if (row.size() != *columns)
        return Error(field, absl::StrCat("row ", b, " has ", row.size(), " entries, expected ", *columns));
    }
    return value;
  }

  absl::Status ReadMask(LossInput& input) const {
    ASSIGN_OR_RETURN(const Json* rows, Rows("mask", input.rewards.size(), std::nullopt));
    input.columns = (*rows)[0].size();
    for (size_t b = 0; b < rows->size(); ++b) {
      for (size_t t = 0; t < input.columns; ++t) {
        const Json& value = (*rows)[b][t];
        const bool one = value.is_boolean() ? value.get<bool>() : value.is_number() && value.get<double>() == 1;
        const bool zero = value.is_boolean() ? !value.get<bool>() : value.is_number() && value.get<double>() == 0;
        if (!one && !zero) return Error("mask", absl::StrCat("row ", b, ", entry ", t, " must be 0 or 1"));
        input.mask.push_back(one ? 1 : 0);
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadMatrix(const char* field, bool needed, const LossInput& input, Matrix& out) const {
    if (!needed && Find(field) == nullptr) return absl::OkStatus();
    ASSIGN_OR_RETURN(const Json* rows, Rows(field, input.rewards.size(), input.columns));
    if (!needed) return absl::OkStatus();
    out.columns = input.columns;
    out.values.assign(input.mask.size(), 0);
    for (size_t i = 0; i < input.mask.size(); ++i) {
      if (input.mask[i] == 0) continue;  // no effect, so no demand
      const size_t b = i / input.columns, t = i % input.columns;
      const Json& value = (*rows)[b][t];
      if (!value.is_number() || !std::isfinite(value.get<double>()))
        return Error(field, absl::StrCat("row ", b, ", entry ", t, " must be a finite number, for its mask is 1"));
      out.values[i] = value.get<double>();
    }
    return absl::OkStatus();
  }

  const Json& object_;
  const absl::string_view where_;
};

// NaN, Infinity and -Infinity outside strings become null, which is refused wherever it would have an effect.
std::string ReplaceNonFinite(absl::string_view line) {
  std::string text;
  text.reserve(line.size());
  bool in_string = false;
  for (size_t i = 0; i < line.size();) {
    absl::string_view token = line.substr(i, 1);
    if (in_string) {
      if (token == "\\") token = line.substr(i, 2);
      if (token == "\"") in_string = false;
    } else {
      if (token == "\"") in_string = true;
      for (const absl::string_view word : {"-Infinity", "Infinity", "NaN"}) {
        if (line.substr(i, word.size()) == word) token = word;
      }
    }
    i += token.size();
    if (token.size() > 2) token = "null";
    text.append(token.data(), token.size());
  }
  return text;
}

std::vector<double> BatchAdvantages(const LossInput& input) {
  std::map<std::string, std::vector<size_t>> groups;
  for (size_t b = 0; b < input.group_ids.size(); ++b) groups[input.group_ids[b]].push_back(b);
  std::vector<double> advantages(input.rewards.size());
  for (const auto& [id, members] : groups) {
    std::vector<double> rewards, result(members.size());
    for (size_t b : members) rewards.push_back(input.rewards[b]);
    GroupAdvantages(input.estimator, rewards, result);
    for (size_t i = 0; i < members.size(); ++i) advantages[members[i]] = result[i];
  }
  return advantages;
}

Json Compute(const LossInput& input) {
  const size_t rows = input.rewards.size();
  const std::vector<double> advantages = BatchAdvantages(input);
  GlobalCounts counts;
  counts.completions = static_cast<int64_t>(rows);
  counts.tokens = std::count(input.mask.begin(), input.mask.end(), 1);
  LossTotals totals;
  Json gradients = Json::array();
  for (size_t b = 0; b < rows; ++b) {
    CompletionLogProbs<double> completion;
    completion.advantage = advantages[b];
    completion.logp_new = input.logp_new.Row(b);
    completion.logp_old = input.logp_old.Row(b);
    if (!input.logp_behavior.values.empty()) completion.logp_behavior = input.logp_behavior.Row(b);
    if (!input.logp_reference.values.empty()) completion.logp_reference = input.logp_reference.Row(b);
    if (!input.credit.values.empty()) completion.credit = input.credit.Row(b);
    completion.mask = std::span(input.mask).subspan(b * input.columns, input.columns);
    std::vector<double> gradient(input.columns);
    AddPolicyLoss<double>(input.options, counts, completion, gradient, totals);
    gradients.push_back(gradient);
  }
  return {{"id", input.id}, {"loss", totals.loss}, {"grad", gradients}, {"advantages", advantages}};
}

}  // namespace

absl::StatusOr<std::string> LossLine(absl::string_view line, absl::string_view where) {
  JsonLimits limits;
  limits.max_bytes = kMaxLossLineBytes;
  limits.max_depth = 3;  // the object, a matrix, its rows
  limits.max_values = kMaxLossLineBytes / 2;
  ASSIGN_OR_RETURN(const Json object, ParseStrictJson(ReplaceNonFinite(line), where, limits));
  if (!object.is_object()) return absl::InvalidArgumentError(absl::StrCat(where, ": expected one JSON object."));
  ASSIGN_OR_RETURN(const LossInput input, LossReader(object, where).Read());
  const Json result = Compute(input);
  if (!std::isfinite(result["loss"].get<double>()))
    return absl::InvalidArgumentError(absl::StrCat(where, ": the loss is not finite for these log-probs."));
  return result.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::Status LossJsonl(std::istream& in, std::ostream& out, absl::string_view source_name) {
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    ASSIGN_OR_RETURN(const std::string result, LossLine(line, absl::StrCat(source_name, ", line ", number)));
    out << result << '\n' << std::flush;
    if (!out) return absl::UnavailableError("The output of loss could not be written.");
  }
  if (in.bad()) return absl::UnavailableError(absl::StrCat(source_name, " could not be read."));
  return absl::OkStatus();
}

}  // namespace tactus
