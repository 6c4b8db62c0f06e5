#include "tools/batch/loss_jsonl.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/json_lines.h"
#include "common/base/status_macros.h"
#include "common/data/turn_rewards.h"
#include "learner/algo/advantage.h"
#include "learner/algo/policy_loss.h"
#include "learner/algo/reward_shaping.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

// Room for six matrices of 128 answers of 5,000 tokens. A line at both limits costs about 300 MB while it is read.
constexpr JsonLimits kLimits = {.max_bytes = kMaxLossLineBytes,
                                .max_depth = 3,  // the object, a matrix, its rows
                                .max_values = size_t{1} << 22,
                                .max_string = kMaxLossLineBytes};

constexpr double kRewardTolerance = 1e-9;  // of the sum of turns, relative

struct Matrix {
  size_t columns = 0;
  std::vector<double> values;  // [B, T]
  std::span<const double> Row(size_t b) const { return std::span(values).subspan(b * columns, columns); }
};

struct LossInput {
  std::string id_json;
  Estimator estimator = Estimator::kGrpo;
  PolicyLossOptions options;  // kl_beta 0 where the KL is in the reward
  RewardShapingOptions shaping;
  std::vector<std::vector<double>> rewards;  // [B] of each its turns', or the one
  std::vector<std::vector<size_t>> turns;    // [B][T] the turn of each token, or empty
  std::vector<std::string> group_ids;        // [B]
  size_t columns = 0;                        // T
  std::vector<uint8_t> mask;                 // [B, T]
  std::vector<uint8_t> truncated;            // [B], or empty
  Matrix logp_new, logp_old, logp_behavior, logp_reference, credit, entropy;

  size_t TurnOf(size_t b, size_t t) const { return turns.empty() ? 0 : turns[b][t]; }
};

template <typename Enum>
absl::StatusOr<Enum> ReadEnum(const JsonField& line, const char* key,
                              const std::vector<std::pair<const char*, Enum>>& names) {
  ASSIGN_OR_RETURN(const JsonField field, line.Member(key));
  for (const auto& [name, value] : names) {
    if (field.value() == name) return value;
  }
  const auto quote = [](std::string* to, const auto& entry) { absl::StrAppend(to, "\"", entry.first, "\""); };
  return field.Expected(absl::StrCat("one of ", absl::StrJoin(names, ", ", quote)));
}

// The same of a key that may be left out.
template <typename Enum>
absl::Status ReadEnumIfThere(const JsonField& line, const char* key,
                             const std::vector<std::pair<const char*, Enum>>& names, Enum& out) {
  ASSIGN_OR_RETURN(const JsonField field, line.Member(key));
  if (field.is_null()) return absl::OkStatus();
  ASSIGN_OR_RETURN(out, ReadEnum(line, key, names));
  return absl::OkStatus();
}

absl::StatusOr<double> ReadCoefficient(const JsonField& field) {
  const absl::StatusOr<double> value = field.Number();
  if (!value.ok() || *value < 0) return field.Expected("a number of at least 0");
  return value;
}

absl::Status ReadCoefficientIfThere(const JsonField& line, const char* key, double& out) {
  ASSIGN_OR_RETURN(const JsonField field, line.Member(key));
  if (field.is_null()) return absl::OkStatus();
  ASSIGN_OR_RETURN(out, ReadCoefficient(field));
  return absl::OkStatus();
}

// What has a default in every run, too.
absl::Status ReadRefinements(const JsonField& line, LossInput& input) {
  PolicyLossOptions& options = input.options;
  RETURN_IF_ERROR(ReadCoefficientIfThere(line, "clip_dual", options.clip_dual));
  RETURN_IF_ERROR(ReadCoefficientIfThere(line, "entropy_coefficient", options.entropy_coefficient));
  RETURN_IF_ERROR(ReadEnumIfThere<ImportanceLevel>(line, "tis_level",
                                                   {{"token", ImportanceLevel::kToken},
                                                    {"sequence", ImportanceLevel::kSequence},
                                                    {"geometric", ImportanceLevel::kGeometric}},
                                                   options.tis_level));
  RETURN_IF_ERROR(ReadEnumIfThere<ImportanceRule>(
      line, "tis_rule", {{"truncate", ImportanceRule::kTruncate}, {"mask", ImportanceRule::kMask}}, options.tis_rule));
  RETURN_IF_ERROR(ReadCoefficientIfThere(line, "tis_floor", options.tis_floor));
  RETURN_IF_ERROR(ReadEnumIfThere<KlEstimator>(
      line, "kl_estimator", {{"k1", KlEstimator::kK1}, {"k2", KlEstimator::kK2}, {"k3", KlEstimator::kK3}},
      options.kl_estimator));
  bool in_reward = false;
  RETURN_IF_ERROR(ReadEnumIfThere<bool>(line, "kl_place", {{"loss", false}, {"reward", true}}, in_reward));
  RewardShapingOptions& shaping = input.shaping;
  shaping.kl_estimator = options.kl_estimator;
  if (in_reward) std::swap(options.kl_beta, shaping.kl_beta);
  ASSIGN_OR_RETURN(const JsonField buffer, line.Member("overlong_buffer"));
  if (buffer.is_null()) return absl::OkStatus();
  JSON_MEMBER(shaping.max_tokens, line, "overlong_max", IntegerIn(1, int64_t{1} << 50));
  JSON_MEMBER(shaping.buffer_tokens, line, "overlong_buffer", IntegerIn(1, shaping.max_tokens));
  return ReadCoefficientIfThere(line, "overlong_penalty", shaping.penalty);
}

absl::Status ReadOptions(const JsonField& line, LossInput& input) {
  PolicyLossOptions& options = input.options;
  ASSIGN_OR_RETURN(input.estimator, ReadEnum<Estimator>(line, "estimator",
                                                        {{"grpo", Estimator::kGrpo},
                                                         {"dr_grpo", Estimator::kDrGrpo},
                                                         {"rloo", Estimator::kRloo},
                                                         {"reinforce_pp", Estimator::kReinforcePp},
                                                         {"reinforce_pp_baseline", Estimator::kReinforcePpBaseline}}));
  ASSIGN_OR_RETURN(options.loss, ReadEnum<PolicyLossKind>(line, "loss",
                                                          {{"clip", PolicyLossKind::kClip},
                                                           {"gspo", PolicyLossKind::kGspo},
                                                           {"cispo", PolicyLossKind::kCispo}}));
  ASSIGN_OR_RETURN(options.aggregation, ReadEnum<LossAggregation>(line, "agg",
                                                                  {{"token_mean", LossAggregation::kTokenMean},
                                                                   {"seq_mean", LossAggregation::kSeqMean},
                                                                   {"fixed_length", LossAggregation::kFixedLength}}));
  ASSIGN_OR_RETURN(
      options.sign_rule,
      ReadEnum<CreditSignRule>(
          line, "sign", {{"none", CreditSignRule::kNone}, {"v1", CreditSignRule::kV1}, {"v2", CreditSignRule::kV2}}));
  ASSIGN_OR_RETURN(const JsonField low, line.Member("eps_low"));
  ASSIGN_OR_RETURN(options.clip_low, ReadCoefficient(low));
  ASSIGN_OR_RETURN(const JsonField high, line.Member("eps_high"));
  ASSIGN_OR_RETURN(options.clip_high, ReadCoefficient(high));
  ASSIGN_OR_RETURN(const JsonField beta, line.Member("kl_beta"));
  ASSIGN_OR_RETURN(options.kl_beta, ReadCoefficient(beta));
  ASSIGN_OR_RETURN(const JsonField cap, line.Member("tis_cap"));
  if (!cap.is_null()) {
    ASSIGN_OR_RETURN(options.tis_cap, ReadCoefficient(cap));
  }
  if (options.aggregation == LossAggregation::kFixedLength) {
    JSON_MEMBER(options.fixed_length_tokens, line, "fixed_length", IntegerIn(1, int64_t{1} << 50));
  }
  return ReadRefinements(line, input);
}

absl::Status ReadCompletions(const JsonField& line, LossInput& input) {
  ASSIGN_OR_RETURN(const JsonField rewards, line.Member("rewards"));
  const absl::StatusOr<size_t> size = rewards.ArraySize();
  if (!size.ok() || *size == 0) return rewards.Expected("an array of numbers, one per completion");
  ASSIGN_OR_RETURN(const JsonField groups, line.Member("group_ids"));
  const absl::StatusOr<size_t> group_count = groups.ArraySize();
  if (!group_count.ok() || *group_count != *size) {
    return groups.Expected(absl::StrCat("an array of ", *size, " strings, as rewards has"));
  }
  for (size_t i = 0; i < *size; ++i) {
    ASSIGN_OR_RETURN(const double reward, rewards.Element(i).Number());
    input.rewards.push_back({reward});
    ASSIGN_OR_RETURN(input.group_ids.emplace_back(), groups.Element(i).String());
  }
  return absl::OkStatus();
}

// That a field is [rows][columns]; without columns, those of its first row are meant and returned.
absl::StatusOr<size_t> CheckShape(const JsonField& field, size_t rows, std::optional<size_t> columns) {
  const absl::StatusOr<size_t> size = field.ArraySize();
  if (!size.ok() || *size != rows) return field.Expected(absl::StrCat("an array of ", rows, " rows, one per reward"));
  for (size_t b = 0; b < rows; ++b) {
    const JsonField row = field.Element(b);
    ASSIGN_OR_RETURN(const size_t entries, row.ArraySize());
    if (!columns.has_value()) columns = entries;
    if (entries != *columns) return row.Expected(absl::StrCat(*columns, " entries, found ", entries));
  }
  return *columns;
}

absl::Status ReadMask(const JsonField& line, LossInput& input) {
  ASSIGN_OR_RETURN(const JsonField field, line.Member("mask"));
  ASSIGN_OR_RETURN(input.columns, CheckShape(field, input.rewards.size(), std::nullopt));
  for (size_t b = 0; b < input.rewards.size(); ++b) {
    for (size_t t = 0; t < input.columns; ++t) {
      const nlohmann::json& value = field.value()[b][t];
      const bool one = value == true || value == 1, zero = value == false || value == 0;
      if (!one && !zero) return field.Element(b).Element(t).Expected("0 or 1");
      input.mask.push_back(one ? 1 : 0);
    }
  }
  return absl::OkStatus();
}

// What stands where the mask is 0 has no effect, so it may be anything.
absl::Status ReadMatrix(const JsonField& line, const char* key, bool needed, const LossInput& input, Matrix& out) {
  ASSIGN_OR_RETURN(const JsonField field, line.Member(key));
  if (!needed && field.is_null()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckShape(field, input.rewards.size(), input.columns).status());
  if (!needed) return absl::OkStatus();
  out.columns = input.columns;
  out.values.assign(input.mask.size(), 0);
  for (size_t i = 0; i < input.mask.size(); ++i) {
    if (input.mask[i] == 0) continue;
    const size_t b = i / input.columns, t = i % input.columns;
    const nlohmann::json& value = field.value()[b][t];
    if (!value.is_number() || !std::isfinite(value.get<double>()))
      return field.Element(b).Element(t).Expected("a finite number, for its mask is 1");
    out.values[i] = value.get<double>();
  }
  return absl::OkStatus();
}

absl::Status ReadTruncated(const JsonField& line, LossInput& input) {
  ASSIGN_OR_RETURN(const JsonField field, line.Member("truncated"));
  if (field.is_null()) return absl::OkStatus();
  const absl::StatusOr<size_t> size = field.ArraySize();
  if (!size.ok() || *size != input.rewards.size()) return field.Expected("an array of 0 or 1, one per reward");
  for (size_t b = 0; b < *size; ++b) {
    const absl::StatusOr<int64_t> value = field.Element(b).IntegerIn(0, 1);
    if (!value.ok()) return field.Element(b).Expected("0 or 1");
    input.truncated.push_back(*value == 1 ? 1 : 0);
  }
  return absl::OkStatus();
}

// Of answer b: its turns' rewards, which add up to the given one.
absl::Status ReadTurnRewards(const JsonField& field, std::vector<double>& rewards) {
  const absl::StatusOr<size_t> turns = field.ArraySize();
  if (!turns.ok() || *turns == 0) return field.Expected("an array of numbers, one per turn");
  std::vector<double> of_turns;
  for (size_t k = 0; k < *turns; ++k) {
    ASSIGN_OR_RETURN(of_turns.emplace_back(), field.Element(k).Number());
  }
  const double sum = ReturnsOf(of_turns).front();
  if (std::abs(sum - rewards.front()) > kRewardTolerance * std::max(1.0, std::abs(sum)))
    return field.Expected(absl::StrCat("rewards that add up to ", rewards.front(), ", as given in rewards"));
  rewards = std::move(of_turns);
  return absl::OkStatus();
}

// turn_rewards [B] of arrays, and turns [B][T] which says the turn of each token; what stands where the mask is 0 has
// no effect. Both or none.
absl::Status ReadTurns(const JsonField& line, LossInput& input) {
  ASSIGN_OR_RETURN(const JsonField rewards, line.Member("turn_rewards"));
  ASSIGN_OR_RETURN(const JsonField turns, line.Member("turns"));
  if (rewards.is_null() && turns.is_null()) return absl::OkStatus();
  const absl::StatusOr<size_t> size = rewards.ArraySize();
  if (!size.ok() || *size != input.rewards.size())
    return rewards.Expected(absl::StrCat("an array of ", input.rewards.size(), " arrays, one per reward"));
  RETURN_IF_ERROR(CheckShape(turns, input.rewards.size(), input.columns).status());
  for (size_t b = 0; b < input.rewards.size(); ++b) {
    RETURN_IF_ERROR(ReadTurnRewards(rewards.Element(b), input.rewards[b]));
    std::vector<size_t>& of_tokens = input.turns.emplace_back(input.columns, 0);
    for (size_t t = 0; t < input.columns; ++t) {
      if (input.mask[b * input.columns + t] == 0) continue;
      const auto last = static_cast<int64_t>(input.rewards[b].size()) - 1;
      ASSIGN_OR_RETURN(const int64_t turn, turns.Element(b).Element(t).IntegerIn(0, last));
      of_tokens[t] = static_cast<size_t>(turn);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<LossInput> ReadInput(const JsonField& line) {
  RETURN_IF_ERROR(line.CheckKeys(
      {"id", "estimator", "loss", "agg", "eps_low", "eps_high", "kl_beta", "sign", "rewards", "group_ids", "mask"},
      {"fixed_length",     "tis_cap",      "gamma",        "logp_new",        "logp_old",
       "logp_behav",       "logp_ref",     "clip_dual",    "tis_level",       "tis_rule",
       "tis_floor",        "kl_estimator", "kl_place",     "overlong_buffer", "overlong_max",
       "overlong_penalty", "truncated",    "turn_rewards", "turns",           "entropy_coefficient",
       "entropy"}));
  LossInput input;
  ASSIGN_OR_RETURN(const JsonField id, line.Member("id"));
  if (id.is_null()) return id.Expected("a value other than null");
  input.id_json = id.value().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  RETURN_IF_ERROR(ReadOptions(line, input));
  RETURN_IF_ERROR(ReadCompletions(line, input));
  RETURN_IF_ERROR(ReadMask(line, input));
  RETURN_IF_ERROR(ReadTruncated(line, input));
  RETURN_IF_ERROR(ReadTurns(line, input));
  const PolicyLossOptions& options = input.options;
  const bool charged = input.shaping.kl_beta != 0;
  RETURN_IF_ERROR(ReadMatrix(line, "logp_new", true, input, input.logp_new));
  RETURN_IF_ERROR(ReadMatrix(line, "logp_old", true, input, input.logp_old));
  RETURN_IF_ERROR(ReadMatrix(line, "logp_behav", options.tis_cap.has_value() || charged, input, input.logp_behavior));
  RETURN_IF_ERROR(ReadMatrix(line, "logp_ref", options.kl_beta != 0 || charged, input, input.logp_reference));
  RETURN_IF_ERROR(ReadMatrix(line, "entropy", options.entropy_coefficient != 0, input, input.entropy));
  RETURN_IF_ERROR(ReadMatrix(line, "gamma", options.sign_rule != CreditSignRule::kNone, input, input.credit));
  return input;
}

std::vector<double> ShapedRewards(const LossInput& input, size_t b) {
  int64_t length = 0;
  std::vector<double> rewards = input.rewards[b], kl(rewards.size(), 0);
  for (size_t t = 0; t < input.columns; ++t) {
    if (input.mask[b * input.columns + t] == 0) continue;
    ++length;
    if (input.shaping.kl_beta == 0) continue;
    kl[input.TurnOf(b, t)] +=
        KlEstimate(input.shaping.kl_estimator, input.logp_reference.Row(b)[t] - input.logp_behavior.Row(b)[t]);
  }
  rewards.back() += OverlongPenalty(input.shaping, length);
  for (size_t k = 0; k < rewards.size(); ++k) rewards[k] -= input.shaping.kl_beta * kl[k];
  return rewards;
}

// Of each answer its turns', or the one.
std::vector<std::vector<double>> AdvantagesOf(const LossInput& input) {
  std::map<std::string, std::vector<size_t>> groups;
  for (size_t b = 0; b < input.group_ids.size(); ++b) groups[input.group_ids[b]].push_back(b);
  PerTurn rewards;
  for (const auto& [id, members] : groups) {
    rewards.emplace_back();
    for (const size_t b : members) rewards.back().push_back(ShapedRewards(input, b));
  }
  const PerTurn by_group = TurnAdvantages(input.estimator, rewards);
  std::vector<std::vector<double>> advantages(input.rewards.size());
  auto group = by_group.begin();
  for (const auto& [id, members] : groups) {
    for (size_t i = 0; i < members.size(); ++i) advantages[members[i]] = (*group)[i];
    ++group;
  }
  return advantages;
}

Json Compute(LossInput input) {
  const size_t rows = input.rewards.size();
  const std::vector<std::vector<double>> advantages = AdvantagesOf(input);
  for (size_t i = 0; i < input.mask.size() && !input.truncated.empty(); ++i) {
    if (input.truncated[i / input.columns] != 0) input.mask[i] = 0;
  }
  GlobalCounts counts;
  counts.completions = static_cast<int64_t>(rows);
  counts.tokens = std::count(input.mask.begin(), input.mask.end(), 1);
  LossTotals totals;
  Json gradients = Json::array(), entropy_gradients = Json::array();
  for (size_t b = 0; b < rows; ++b) {
    CompletionLogProbs<double> completion;
    std::vector<double> of_tokens;
    for (size_t t = 0; t < input.columns; ++t) of_tokens.push_back(advantages[b][input.TurnOf(b, t)]);
    completion.advantages = of_tokens;
    completion.logp_new = input.logp_new.Row(b);
    completion.logp_old = input.logp_old.Row(b);
    if (!input.logp_behavior.values.empty()) completion.logp_behavior = input.logp_behavior.Row(b);
    if (!input.logp_reference.values.empty()) completion.logp_reference = input.logp_reference.Row(b);
    if (!input.credit.values.empty()) completion.credit = input.credit.Row(b);
    completion.mask = std::span(input.mask).subspan(b * input.columns, input.columns);
    if (!input.entropy.values.empty()) completion.entropy = input.entropy.Row(b);
    std::vector<double> gradient(input.columns), entropy_gradient(input.columns);
    AddPolicyLoss<double>(input.options, counts, completion, gradient, entropy_gradient, totals);
    gradients.push_back(gradient);
    entropy_gradients.push_back(entropy_gradient);
  }
  Json of_answers = Json::array();
  for (const std::vector<double>& of_turns : advantages) {
    of_answers.push_back(input.turns.empty() ? Json(of_turns.front()) : Json(of_turns));
  }
  Json result = {
      {"id", Json::parse(input.id_json)}, {"loss", totals.loss}, {"grad", gradients}, {"advantages", of_answers}};
  if (!input.entropy.values.empty()) result["grad_entropy"] = entropy_gradients;
  return result;
}

}  // namespace

absl::StatusOr<std::string> LossLine(absl::string_view line, absl::string_view where) {
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(line, where, kLimits));
  ASSIGN_OR_RETURN(LossInput input, ReadInput(JsonField(json, where)));
  const Json result = Compute(std::move(input));
  if (!std::isfinite(result["loss"].get<double>()))
    return absl::InvalidArgumentError(absl::StrCat(where, ": the loss is not finite for these log-probs."));
  return result.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::Status LossJsonl(std::istream& in, std::ostream& out, absl::string_view source_name) {
  JsonLines lines(in, source_name, kLimits);
  while (true) {
    ASSIGN_OR_RETURN(const bool more, lines.Next());
    if (!more) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::string result, LossLine(lines.text(), lines.where()));
    out << result << '\n' << std::flush;
    if (!out) return absl::UnavailableError("The output of loss could not be written.");
  }
}

}  // namespace tactus
