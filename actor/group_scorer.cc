#include "actor/group_scorer.h"

#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/audit.h"
#include "common/data/turns.h"
#include "common/rhythm/flow.h"
#include "common/rhythm/token_kind.h"
#include "common/tasks/answer_region.h"

namespace tactus {
namespace {

RhythmRecord RecordOf(const Rhythm& rhythm, const Completion& completion) {
  const auto among = [&](const std::vector<double>& values) {
    const std::vector<float> narrow(values.begin(), values.end());
    return AmongTokens(completion.turns, std::span<const float>(narrow), completion.token_ids.size());
  };
  return {.waad = among(rhythm.waad), .fai = among(rhythm.fai), .heads = rhythm.heads};
}

double MeanReward(std::span<const Completion> completions) {
  double sum = 0;
  for (const Completion& completion : completions) sum += completion.reward.total;
  return sum / static_cast<double>(completions.size());
}

// [N] of one answer of a group, given V before each of its chunks.
std::vector<double> WorthOf(const Completion& answer, int index, int chunks,
                            const std::map<VinePlace, double>& values_by_place) {
  const auto tokens = static_cast<int64_t>(answer.token_ids.size());
  const std::vector<int32_t> starts = ChunkStarts(tokens, chunks);
  std::vector<double> values;
  values.reserve(starts.size() + 1);
  for (const int32_t start : starts) values.push_back(values_by_place.find(PlaceBefore(index, start))->second);
  values.push_back(answer.reward.total);
  return ChunkWorth(tokens, starts, values);
}

// Nothing is trained on it: all of the model's tokens are neutral.
void AssignNone(Completion& completion) {
  const std::vector<float> neutral(static_cast<size_t>(SampledTokens(completion)), 1.0F);
  completion.credit = AmongTokens(completion.turns, std::span<const float>(neutral), completion.token_ids.size());
}

}  // namespace

absl::Status GroupScorer::Score(const PromptLease& lease, std::span<const MeasuredAttention> attention,
                                std::span<Continuations> continuations, absl::Time deadline,
                                TrajectoryGroup& group) const {
  if (judge_ != nullptr) RETURN_IF_ERROR(Judged(lease, deadline, group.completions));
  std::map<VinePlace, double> values;
  for (Continuations& from : continuations) {
    RETURN_IF_ERROR(Judged(lease, deadline, from.completions));
    values[from.place] = MeanReward(from.completions);
  }
  for (size_t i = 0; i < group.completions.size(); ++i) {
    Completion& completion = group.completions[i];
    if (lease.evaluation.has_value()) {
      AssignNone(completion);
      continue;
    }
    std::vector<double> worth;
    if (vine().has_value()) worth = WorthOf(completion, static_cast<int>(i), vine()->positions, values);
    AssignCredit(lease, static_cast<uint32_t>(i), attention[i], worth, completion);
  }
  return absl::OkStatus();
}

absl::Status GroupScorer::Judged(const PromptLease& lease, absl::Time deadline,
                                 std::span<Completion> completions) const {
  absl::StatusOr<std::vector<Reward>> rewards =
      ScoreCompletions(*judge_, *tokenizer_, lease.prompt, completions, deadline);
  if (!rewards.ok()) {
    return absl::Status(rewards.status().code(),
                        absl::StrCat("prompt ", lease.prompt.id, ": ", rewards.status().message()));
  }
  for (size_t i = 0; i < completions.size(); ++i) completions[i].reward = std::move((*rewards)[i]);
  return absl::OkStatus();
}

void GroupScorer::AssignCredit(const PromptLease& lease, uint32_t index, const MeasuredAttention& attention,
                               std::span<const double> worth, Completion& completion) const {
  Rhythm rhythm;
  const bool measured = attention.meter != nullptr;
  if (measured) rhythm = ComputeRhythm(attention.meter->Finish(), credit_->rhythm_options(), attention.heads.get());
  // Over the model's tokens, as if they stood one behind the other.
  const std::span<const Turn> turns = completion.turns;
  const std::vector<float> entropy = OfSampled(turns, std::span<const float>(completion.entropy));
  std::vector<TokenKind> kinds;
  if (credit_->ReadsKinds()) {
    kinds = OfSampled(turns, std::span<const TokenKind>(TokenKinds(*tokenizer_, completion.token_ids)));
  }
  std::vector<double> flow;
  if (credit_->TracesFlow()) {
    const FlowRows& rows = attention.meter->flow_rows();
    const int64_t last_tokens = credit_->flow_options().answer_tokens;
    const auto [begin, end] = AnswerRegion(*tokenizer_, completion, last_tokens);
    flow = FlowCredit(rows, TraceFlow(rows, {begin, end}));
  }
  const std::vector<float> weights = credit_->Weights({.seed = lease.seed,
                                                       .prompt_id = lease.prompt.id,
                                                       .completion_index = index,
                                                       .entropy = entropy,
                                                       .rhythm = measured ? &rhythm : nullptr,
                                                       .kinds = kinds,
                                                       .flow = flow,
                                                       .worth = worth});
  completion.credit = AmongTokens(turns, std::span<const float>(weights), completion.token_ids.size());
  const bool audited = measured && Audited(lease.prompt.id, credit_->audit_share());
  if (audited || credit_->Calibrates()) completion.head_spans.assign(rhythm.span.begin(), rhythm.span.end());
  if (audited) completion.rhythm = RecordOf(rhythm, completion);
}

}  // namespace tactus
