#include "learner/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/turns.h"

namespace tactus {
namespace {

// Adds the seconds until its end to `total`.
class PhaseTimer {
 public:
  explicit PhaseTimer(double& total) : total_(total), start_(std::chrono::steady_clock::now()) {}
  ~PhaseTimer() { total_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;

 private:
  double& total_;
  const std::chrono::steady_clock::time_point start_;
};

absl::Status GroupError(const TrajectoryGroup& group, absl::string_view problem) {
  return absl::InvalidArgumentError(
      absl::StrCat("Group of prompt ", group.prompt_id, ", lease ", group.lease_id, ": ", problem, "."));
}

bool AllFinite(const std::vector<float>& values) {
  for (const float value : values) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

absl::Status CheckGroup(const TrajectoryGroup& group) {
  if (group.prompt_token_ids.empty()) return GroupError(group, "the prompt is empty");
  if (group.completions.empty()) return GroupError(group, "there are no completions");
  for (const Completion& completion : group.completions) {
    const size_t length = completion.token_ids.size();
    if (completion.logprobs.size() != length || completion.credit.size() != length ||
        completion.entropy.size() != length) {
      return GroupError(group, absl::StrCat("logprobs, entropy and credit must have the ", length,
                                            " entries of the completion's tokens"));
    }
    if (!AllFinite(completion.logprobs) || !AllFinite(completion.credit) || !AllFinite(completion.entropy))
      return GroupError(group, "logprobs, entropy and credit must be finite");
    if (!std::isfinite(completion.reward.total)) return GroupError(group, "the reward must be finite");
  }
  return absl::OkStatus();
}

// The mean stays a sum until all are in.
void AddAdvantage(double advantage, StepRecord& stats) {
  stats.advantage_mean += advantage;
  stats.advantage_min = std::min(stats.advantage_min, advantage);
  stats.advantage_max = std::max(stats.advantage_max, advantage);
}

SequenceView ViewOf(const TrajectoryGroup& group, size_t completion_index, int32_t group_index, double advantage) {
  const Completion& completion = group.completions[completion_index];
  return {group.prompt_token_ids, completion.token_ids, group_index,         advantage,
          completion.logprobs,    completion.credit,    completion.versions, completion.turns};
}

}  // namespace

Trainer::Trainer(const TrainerOptions& options, std::unique_ptr<TrainablePolicy> policy,
                 std::unique_ptr<TrainablePolicy> reference, Collective& collective)
    : options_(options), policy_(std::move(policy)), reference_(std::move(reference)), collective_(collective) {}

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const TrainerOptions& options,
                                                         std::unique_ptr<TrainablePolicy> policy,
                                                         std::unique_ptr<TrainablePolicy> reference,
                                                         Collective& collective) {
  if (options.needs_reference() != (reference != nullptr))
    return absl::InvalidArgumentError("Trainer: a reference policy is needed exactly when kl_beta is above 0.");
  if (reference != nullptr && reference->layout().total_numel != policy->layout().total_numel)
    return absl::InvalidArgumentError("Trainer: the reference policy's parameters do not have the policy's shapes.");
  if (options.updates_per_batch < 1)
    return absl::InvalidArgumentError("Trainer: updates_per_batch must be at least 1.");
  return std::unique_ptr<Trainer>(new Trainer(options, std::move(policy), std::move(reference), collective));
}

absl::StatusOr<std::vector<TrainBatch>> Trainer::PackShare(std::span<const SequenceView> sequences,
                                                           PolicyVersion current) const {
  // Also the other ranks' tokens are checked, so that all ranks refuse a bad batch together.
  RETURN_IF_ERROR(CheckSequences(sequences, options_.micro_batch_tokens, policy_->vocab_size()));
  const std::vector<size_t> cuts = SplitAcrossRanks(sequences, collective_.size());
  const size_t begin = cuts[static_cast<size_t>(collective_.rank())];
  const size_t end = cuts[static_cast<size_t>(collective_.rank()) + 1];
  ASSIGN_OR_RETURN(std::vector<TrainBatch> batches,
                   PackSequences(sequences.subspan(begin, end - begin), options_.micro_batch_tokens,
                                 policy_->vocab_size(), current));
  if (!policy_->collective_passes()) return batches;
  const double mine = static_cast<double>(batches.size());
  std::vector<double> all(static_cast<size_t>(collective_.size()));
  RETURN_IF_ERROR(collective_.AllGather(std::span(&mine, 1), all));
  while (static_cast<double>(batches.size()) < std::ranges::max(all)) batches.push_back(TrainBatch::Empty());
  return batches;
}

absl::Status Trainer::ChargeKl(const std::vector<TrajectoryGroup>& groups, PolicyVersion current,
                               PerCompletion& rewards, StepRecord& stats, PhaseSeconds& seconds) {
  std::vector<SequenceView> views;
  std::vector<double*> charged;  // the reward of each view
  for (size_t g = 0; g < groups.size(); ++g) {
    for (size_t c = 0; c < groups[g].completions.size(); ++c) {
      if (groups[g].completions[c].token_ids.empty()) continue;
      views.push_back(ViewOf(groups[g], c, static_cast<int32_t>(g), /*advantage=*/0));
      charged.push_back(&rewards[g][c]);
    }
  }
  ASSIGN_OR_RETURN(const std::vector<TrainBatch> batches, PackShare(views, current));
  // Of each view, on the rank that computes it; then k3 and the tokens of all.
  std::vector<double> sums(views.size() + 2);
  size_t view = SplitAcrossRanks(views, collective_.size())[static_cast<size_t>(collective_.rank())];
  for (const TrainBatch& batch : batches) {
    std::vector<float> reference(batch.num_targets());
    const PhaseTimer timer(seconds.forward);
    RETURN_IF_ERROR(reference_->ForwardOnly(batch.fields().sequences, reference));
    for (size_t s = 0; s < batch.num_sequences(); ++s, ++view) {
      const std::span<const float> at = batch.Targets(std::span<const float>(reference), s);
      const auto behavior = batch.Targets(std::span<const float>(batch.fields().behavior_logprobs), s);
      for (size_t t = 0; t < at.size(); ++t) {
        const double log_ratio = double{at[t]} - double{behavior[t]};
        sums[view] += KlEstimate(options_.shaping.kl_estimator, log_ratio);
        sums[views.size()] += KlEstimate(KlEstimator::kK3, log_ratio);
        sums[views.size() + 1] += 1;
      }
    }
  }
  RETURN_IF_ERROR(collective_.AllReduceSum(std::span<double>(sums)));
  for (size_t i = 0; i < views.size(); ++i) *charged[i] -= options_.shaping.kl_beta * sums[i];
  stats.kl_k3 = sums[views.size()] / std::max(1.0, sums[views.size() + 1]);
  return absl::OkStatus();
}

absl::StatusOr<Trainer::PerCompletion> Trainer::ShapedRewards(const std::vector<TrajectoryGroup>& groups,
                                                              PolicyVersion current, StepRecord& stats,
                                                              PhaseSeconds& seconds) {
  PerCompletion rewards;
  double completions = 0, given = 0, shaped = 0;
  for (const TrajectoryGroup& group : groups) {
    std::vector<double>& of_group = rewards.emplace_back();
    for (const Completion& completion : group.completions) {
      of_group.push_back(completion.reward.total + OverlongPenalty(options_.shaping, SampledTokens(completion)));
      given += completion.reward.total;
    }
  }
  if (!options_.shaping.changes_rewards()) return rewards;
  if (options_.shaping.kl_beta != 0) RETURN_IF_ERROR(ChargeKl(groups, current, rewards, stats, seconds));
  for (const std::vector<double>& of_group : rewards) {
    completions += static_cast<double>(of_group.size());
    for (const double reward : of_group) shaped += reward;
  }
  stats.reward_shaping_mean = (shaped - given) / std::max(1.0, completions);
  return rewards;
}

absl::StatusOr<Trainer::Update> Trainer::PrepareUpdate(std::span<const TrajectoryGroup> groups,
                                                       std::span<const std::vector<double>> advantages,
                                                       PolicyVersion current, StepRecord& stats) const {
  Update update;
  std::vector<SequenceView> views;
  for (size_t g = 0; g < groups.size(); ++g) {
    for (size_t c = 0; c < advantages[g].size(); ++c) {
      const SequenceView view = ViewOf(groups[g], c, static_cast<int32_t>(g), advantages[g][c]);
      const int64_t length = SampledTokens(groups[g].completions[c]);  // to train on; the rest is context
      AddAdvantage(view.advantage, stats);
      update.counts.completions += 1;
      const bool masked = options_.mask_overlong && groups[g].completions[c].finish_reason == FinishReason::kLength;
      if (!masked) update.counts.tokens += length;
      if (length == 0) continue;
      if (masked || (view.advantage == 0 && options_.loss.kl_beta == 0)) {
        stats.skipped_tokens += static_cast<double>(length);
        continue;
      }
      stats.completion_tokens += static_cast<double>(length);
      stats.prompt_tokens +=
          static_cast<double>(view.prompt.size() + view.completion.size()) - static_cast<double>(length);
      views.push_back(view);
    }
  }
  ASSIGN_OR_RETURN(update.batches, PackShare(views, current));
  return update;
}

absl::Status Trainer::Restore(const ParameterState& state, const StepCounts& counts) {
  if (counts.taken < 0 || counts.skipped < 0)
    return absl::InvalidArgumentError(absl::StrCat("Optimizer state: counts must be at least 0, got steps ",
                                                   counts.taken, ", skipped ", counts.skipped, "."));
  RETURN_IF_ERROR(policy_->state().WriteState(state, collective_));
  counts_ = counts;
  return absl::OkStatus();
}

absl::Status Trainer::Diverged() const {
  if (options_.max_skipped_updates == 0 || skipped_in_row_ < options_.max_skipped_updates) return absl::OkStatus();
  const std::string too_long =
      options_.optimizer.skip_grad_norm > 0
          ? absl::StrCat(" or longer than optimizer.skip_grad_norm = ", options_.optimizer.skip_grad_norm)
          : "";
  return absl::AbortedError(
      absl::StrCat("the last ", skipped_in_row_, " updates were skipped, as their gradients were not finite", too_long,
                   ": the training has diverged, and optimizer.max_skipped_updates ends it; the weights are those "
                   "before. Look at the steps before (loss, grad_norm, ratio_max), and begin anew from earlier weights "
                   "with a lower optimizer.lr"));
}

Collective* Trainer::ReduceAfter(size_t index, const std::vector<TrainBatch>& batches) const {
  return index + 1 == batches.size() ? &collective_ : nullptr;
}

absl::Status Trainer::ComputeOld(Update& update, PhaseSeconds& seconds) {
  const PhaseTimer timer(seconds.forward);
  for (const TrainBatch& batch : update.batches) {
    update.logp_old.emplace_back(batch.num_targets());
    RETURN_IF_ERROR(policy_->ForwardOnly(batch.fields().sequences, update.logp_old.back()));
  }
  return absl::OkStatus();
}

absl::Status Trainer::RunBatch(const Update& update, size_t index, TokenTotals& totals, PhaseSeconds& seconds) {
  const TrainBatch& batch = update.batches[index];
  const TrainBatch::Fields& fields = batch.fields();
  std::vector<float> logp_new(batch.num_targets()), logp_reference, gradient(batch.num_targets());
  {
    const PhaseTimer timer(seconds.forward);
    RETURN_IF_ERROR(policy_->Forward(fields.sequences, logp_new));
    if (options_.loss.kl_beta != 0) {
      logp_reference.resize(batch.num_targets());
      RETURN_IF_ERROR(reference_->ForwardOnly(fields.sequences, logp_reference));
    }
  }
  const std::span<const float> logp_old = update.logp_old.empty() ? logp_new : update.logp_old[index];
  if (!options_.truncated_sampling) totals.AddMismatch(batch, logp_old);
  for (size_t s = 0; s < batch.num_sequences(); ++s) {
    CompletionLogProbs<float> completion;
    completion.advantage = fields.advantages[s];
    completion.logp_new = batch.Targets(std::span<const float>(logp_new), s);
    completion.logp_old = batch.Targets(logp_old, s);
    completion.logp_behavior = batch.Targets(std::span<const float>(fields.behavior_logprobs), s);
    completion.logp_reference = batch.Targets(std::span<const float>(logp_reference), s);
    completion.credit = batch.Targets(std::span<const float>(fields.credit), s);
    AddPolicyLoss<float>(options_.loss, update.counts, completion, batch.Targets(std::span<float>(gradient), s),
                         totals.loss);
  }
  const PhaseTimer timer(seconds.backward);
  return policy_->Backward(gradient, ReduceAfter(index, update.batches));
}

absl::StatusOr<Trainer::StepOutcome> Trainer::ReduceAndStep(TokenTotals& totals, PhaseSeconds& seconds) {
  {
    const PhaseTimer timer(seconds.allreduce);
    RETURN_IF_ERROR(policy_->state().ReduceGradients(collective_));
    RETURN_IF_ERROR(totals.Reduce(collective_));
  }
  const PhaseTimer timer(seconds.optimizer);
  StepOutcome outcome;
  outcome.lr = options_.schedule.At(counts_.taken + counts_.skipped);
  ASSIGN_OR_RETURN(outcome.result,
                   policy_->state().Step(options_.optimizer, {.t = counts_.taken + 1, .lr = outcome.lr}, collective_));
  (outcome.result.skipped ? counts_.skipped : counts_.taken) += 1;
  skipped_in_row_ = outcome.result.skipped ? skipped_in_row_ + 1 : 0;
  return outcome;
}

absl::StatusOr<StepRecord> Trainer::TrainStep(const std::vector<TrajectoryGroup>& groups, PolicyVersion current) {
  for (const TrajectoryGroup& group : groups) RETURN_IF_ERROR(CheckGroup(group));
  const size_t parts = static_cast<size_t>(options_.updates_per_batch);
  if (groups.size() < parts)
    return absl::InvalidArgumentError(
        absl::StrCat("A step of ", groups.size(), " groups cannot be split among ", parts, " updates."));
  StepRecord stats;
  FillGroupStats(groups, current, stats);
  stats.advantage_mean = stats.advantage_min = stats.advantage_max = 0;
  stats.completion_tokens = stats.prompt_tokens = stats.skipped_tokens = 0;
  PhaseSeconds seconds;
  ASSIGN_OR_RETURN(const PerCompletion rewards, ShapedRewards(groups, current, stats, seconds));
  const PerCompletion advantages = BatchAdvantages(options_.estimator, rewards);
  std::vector<Update> updates;
  for (size_t u = 0; u < parts; ++u) {
    const size_t begin = groups.size() * u / parts, count = groups.size() * (u + 1) / parts - begin;
    ASSIGN_OR_RETURN(updates.emplace_back(),
                     PrepareUpdate(std::span(groups).subspan(begin, count), std::span(advantages).subspan(begin, count),
                                   current, stats));
  }
  double completions = 0;
  for (const Update& update : updates) completions += static_cast<double>(update.counts.completions);
  stats.advantage_mean /= std::max(1.0, completions);
  for (size_t u = 1; u < parts; ++u) RETURN_IF_ERROR(ComputeOld(updates[u], seconds));

  TokenTotals step_totals;
  double skipped = 0, grad_norm = 0;
  for (const Update& update : updates) {
    RETURN_IF_ERROR(policy_->state().ZeroGradients());
    TokenTotals totals;
    for (size_t b = 0; b < update.batches.size(); ++b) RETURN_IF_ERROR(RunBatch(update, b, totals, seconds));
    ASSIGN_OR_RETURN(const StepOutcome outcome, ReduceAndStep(totals, seconds));
    step_totals += totals;
    stats.lr = outcome.lr;
    skipped += outcome.result.skipped ? 1 : 0;
    if (!outcome.result.skipped) grad_norm += outcome.result.grad_norm;
  }
  stats.updates = static_cast<double>(parts);
  stats.skipped_updates = skipped;
  if (stats.updates > skipped) stats.grad_norm = grad_norm / (stats.updates - skipped);
  FillTotals(step_totals, stats);
  stats.phase_forward_s = seconds.forward;
  stats.phase_backward_s = seconds.backward;
  stats.phase_allreduce_s = seconds.allreduce;
  stats.phase_optimizer_s = seconds.optimizer;
  return stats;
}

void Trainer::FillTotals(const TokenTotals& totals, StepRecord& stats) const {
  const double charged_kl = stats.kl_k3;  // absent, or what the rewards were charged for
  totals.Fill(stats);
  if (options_.loss.kl_beta == 0) stats.kl_k3 = charged_kl;
  stats.loss = totals.loss.loss / stats.updates;
  stats.loss_kl = totals.loss.kl_loss / stats.updates;
  stats.loss_policy = stats.loss - stats.loss_kl;
  if (options_.loss.kl_beta == 0) stats.loss_kl = kAbsent;
  if (!options_.loss.tis_cap.has_value()) stats.tis_mean = stats.tis_max = stats.tis_capped_share = kAbsent;
}

absl::StatusOr<SftStats> Trainer::SftStep(const std::vector<SftExample>& examples) {
  if (examples.empty()) return absl::InvalidArgumentError("A supervised step needs at least one example.");
  SftStats stats;
  std::vector<SequenceView> views;
  for (const SftExample& example : examples) {
    SequenceView view;
    view.prompt = example.prompt_token_ids;
    view.completion = example.completion_token_ids;
    view.group = static_cast<int32_t>(views.size());
    views.push_back(view);
    stats.completion_tokens += static_cast<int64_t>(view.completion.size());
    stats.prompt_tokens += static_cast<int64_t>(view.prompt.size());
  }
  ASSIGN_OR_RETURN(const std::vector<TrainBatch> batches, PackShare(views, PolicyVersion{}));
  const double weight = 1.0 / static_cast<double>(stats.completion_tokens);
  TokenTotals totals;
  RETURN_IF_ERROR(policy_->state().ZeroGradients());
  for (size_t b = 0; b < batches.size(); ++b) {
    const TrainBatch& batch = batches[b];
    std::vector<float> logprobs(batch.num_targets());
    {
      const PhaseTimer timer(stats.seconds.forward);
      RETURN_IF_ERROR(policy_->Forward(batch.fields().sequences, logprobs));
    }
    for (const float logprob : logprobs) totals.loss.loss -= weight * logprob;
    const PhaseTimer timer(stats.seconds.backward);
    const std::vector<float> gradient(logprobs.size(), static_cast<float>(-weight));
    RETURN_IF_ERROR(policy_->Backward(gradient, ReduceAfter(b, batches)));
  }
  ASSIGN_OR_RETURN(const StepOutcome outcome, ReduceAndStep(totals, stats.seconds));
  stats.loss = totals.loss.loss;
  stats.grad_norm = outcome.result.grad_norm;
  stats.lr = outcome.lr;
  stats.skipped = outcome.result.skipped;
  return stats;
}

}  // namespace tactus
