#include "learner/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/data/turn_rewards.h"
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

// Notes the stretch until its end.
class WorkTimer {
 public:
  WorkTimer(std::vector<WorkSpan>& spans, LearnerWork work) : spans_(spans), work_(work), from_(MonotonicNow()) {}
  ~WorkTimer() { spans_.push_back({work_, from_, MonotonicNow()}); }
  WorkTimer(const WorkTimer&) = delete;
  WorkTimer& operator=(const WorkTimer&) = delete;

 private:
  std::vector<WorkSpan>& spans_;
  const LearnerWork work_;
  const absl::Time from_;
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
    for (const Turn& turn : completion.turns) {
      if (!std::isfinite(turn.reward)) return GroupError(group, "the rewards of the turns must be finite");
    }
  }
  return absl::OkStatus();
}

// The mean stays a sum until all are in.
void AddAdvantage(double advantage, StepRecord& stats) {
  stats.advantage_mean += advantage;
  stats.advantage_min = std::min(stats.advantage_min, advantage);
  stats.advantage_max = std::max(stats.advantage_max, advantage);
}

SequenceView ViewOf(const TrajectoryGroup& group, size_t completion_index, int32_t group_index,
                    std::vector<double> advantages) {
  const Completion& completion = group.completions[completion_index];
  return {group.prompt_token_ids, completion.token_ids, group_index,         std::move(advantages),
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

MicroBatchPlan Trainer::PlanOf(size_t num_groups) const {
  return {collective_.size(), options_.micro_batch_tokens, num_groups, policy_->pass_cost()};
}

absl::Status Trainer::RunRounds(const MicroBatchPlan& plan, PolicyVersion current, size_t& next,
                                absl::FunctionRef<absl::Status(const Round&, const TrainBatch&)> run) const {
  const int rank = collective_.rank();
  const size_t mine = policy_->collective_passes() ? plan.rounds() : plan.batches(rank);
  for (; next < plan.rounds(); ++next) {
    if (next >= mine) continue;
    std::vector<SequenceView> sequences;
    for (const size_t place : plan.places(rank, next)) sequences.push_back(plan.sequence(place));
    TrainBatch batch = TrainBatch::Empty();
    if (!sequences.empty()) {
      ASSIGN_OR_RETURN(batch, PackSequences(sequences, policy_->vocab_size(), current));
    }
    const bool last = plan.complete() && next + 1 == mine;
    RETURN_IF_ERROR(run({.index = next, .reduce_over = last ? &collective_ : nullptr}, batch));
  }
  return absl::OkStatus();
}

absl::Status Trainer::ChargeKl(OpenStep& step, Groups groups, PerTurn& rewards) {
  MicroBatchPlan plan = PlanOf(groups.size());
  std::vector<double*> charged;             // the rewards, one behind the other
  std::vector<std::vector<size_t>> places;  // of each sequence: where those of its turns are
  for (size_t g = 0; g < groups.size(); ++g) {
    std::vector<SequenceView> views;
    for (size_t c = 0; c < groups[g]->completions.size(); ++c) {
      if (groups[g]->completions[c].token_ids.empty()) continue;
      views.push_back(ViewOf(*groups[g], c, static_cast<int32_t>(g), /*advantages=*/{}));
      places.emplace_back();
      for (double& reward : rewards[g][c]) {
        places.back().push_back(charged.size());
        charged.push_back(&reward);
      }
    }
    RETURN_IF_ERROR(CheckSequences(views, options_.micro_batch_tokens, policy_->vocab_size()));
    plan.Add(views);
  }
  // Of each reward's tokens, on the rank that computes them; then k3 and the tokens of all.
  std::vector<double> sums(charged.size() + 2);
  size_t next = 0;
  const auto run = [&](const Round& round, const TrainBatch& batch) -> absl::Status {
    std::vector<float> reference(batch.num_targets());
    const PhaseTimer timer(step.seconds.forward);
    RETURN_IF_ERROR(reference_->ForwardOnly(batch.fields().sequences, reference));
    const std::span<const size_t> sequences = plan.places(collective_.rank(), round.index);
    for (size_t s = 0; s < batch.num_sequences(); ++s) {
      const SequenceView& view = plan.sequence(sequences[s]);
      const std::vector<size_t> to =
          ForSampled(view.turns, std::span<const size_t>(places[sequences[s]]), view.completion.size());
      const std::span<const float> at = batch.Targets(std::span<const float>(reference), s);
      const auto behavior = batch.Targets(std::span<const float>(batch.fields().behavior_logprobs), s);
      for (size_t t = 0; t < at.size(); ++t) {
        const double log_ratio = double{at[t]} - double{behavior[t]};
        sums[to[t]] += KlEstimate(options_.shaping.kl_estimator, log_ratio);
        sums[charged.size()] += KlEstimate(KlEstimator::kK3, log_ratio);
        sums[charged.size() + 1] += 1;
      }
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(RunRounds(plan, step.current, next, run));
  RETURN_IF_ERROR(collective_.AllReduceSum(std::span<double>(sums)));
  for (size_t i = 0; i < charged.size(); ++i) *charged[i] -= options_.shaping.kl_beta * sums[i];
  step.stats.kl_k3 = sums[charged.size()] / std::max(1.0, sums[charged.size() + 1]);
  return absl::OkStatus();
}

absl::StatusOr<PerTurn> Trainer::ShapedRewards(OpenStep& step, Groups groups) {
  PerTurn rewards;
  for (const TrajectoryGroup* group : groups) {
    std::vector<std::vector<double>>& of_group = rewards.emplace_back();
    for (const Completion& completion : group->completions) {
      of_group.push_back(RewardsOf(completion, options_.advantage_level));
      of_group.back().back() += OverlongPenalty(options_.shaping, SampledTokens(completion));
      step.given_rewards += completion.reward.total;
    }
  }
  if (options_.shaping.kl_beta != 0) RETURN_IF_ERROR(ChargeKl(step, groups, rewards));
  for (const std::vector<std::vector<double>>& of_group : rewards) {
    for (const std::vector<double>& of_completion : of_group) step.shaped_rewards += ReturnsOf(of_completion).front();
  }
  return rewards;
}

absl::Status Trainer::PlanGroup(const TrajectoryGroup& group, std::vector<std::vector<double>> advantages,
                                int32_t index, Update& update, OpenStep& step) const {
  StepRecord& stats = step.stats;
  std::vector<SequenceView> views;
  for (size_t c = 0; c < advantages.size(); ++c) {
    const SequenceView view = ViewOf(group, c, index, std::move(advantages[c]));
    const int64_t length = SampledTokens(group.completions[c]);  // to train on; the rest is context
    for (const double advantage : view.advantages) AddAdvantage(advantage, stats);
    step.advantages += static_cast<double>(view.advantages.size());
    update.counts.completions += 1;
    const bool masked = options_.mask_overlong && group.completions[c].finish_reason == FinishReason::kLength;
    if (!masked) update.counts.tokens += length;
    if (length == 0) continue;
    const bool no_signal = std::ranges::all_of(view.advantages, [](double advantage) { return advantage == 0; });
    if (masked || (no_signal && !options_.loss.trains_without_signal())) {
      stats.skipped_tokens += static_cast<double>(length);
      continue;
    }
    stats.completion_tokens += static_cast<double>(length);
    stats.prompt_tokens += static_cast<double>(view.completion.size()) - static_cast<double>(length) +
                           (views.empty() ? static_cast<double>(view.prompt.size()) : 0);
    views.push_back(view);
  }
  // Also the other ranks' tokens are checked, so that all ranks refuse a bad group together.
  RETURN_IF_ERROR(CheckSequences(views, options_.micro_batch_tokens, policy_->vocab_size()));
  update.plan.Add(views);
  return absl::OkStatus();
}

absl::Status Trainer::Plan(OpenStep& step) {
  const Groups groups = Groups(step.groups).subspan(step.planned);
  ASSIGN_OR_RETURN(const PerTurn rewards, ShapedRewards(step, groups));
  PerTurn advantages = TurnAdvantages(options_.estimator, rewards);
  auto update = std::ranges::find_if(step.updates, [](const Update& u) { return !u.plan.complete(); });
  for (size_t g = 0; g < groups.size(); ++g, ++step.planned) {
    if (update->plan.complete()) ++update;
    step.completions += static_cast<double>(advantages[g].size());
    RETURN_IF_ERROR(PlanGroup(*groups[g], std::move(advantages[g]), static_cast<int32_t>(step.planned), *update, step));
  }
  return absl::OkStatus();
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

absl::Status Trainer::ComputeOld(OpenStep& step, Update& update) {
  size_t next = 0;
  return RunRounds(update.plan, step.current, next, [&](const Round&, const TrainBatch& batch) {
    const PhaseTimer timer(step.seconds.forward);
    update.logp_old.emplace_back(batch.num_targets());
    return policy_->ForwardOnly(batch.fields().sequences, update.logp_old.back());
  });
}

absl::Status Trainer::RunBatch(const Round& round, const TrainBatch& batch, Update& update, PhaseSeconds& seconds) {
  const TrainBatch::Fields& fields = batch.fields();
  std::vector<float> logp_new(batch.num_targets()), logp_reference, gradient(batch.num_targets());
  std::vector<float> entropy(options_.loss.entropy_coefficient == 0 ? 0 : batch.num_targets());
  std::vector<float> entropy_gradient(entropy.size());
  {
    const PhaseTimer timer(seconds.forward);
    RETURN_IF_ERROR(policy_->Forward(fields.sequences, logp_new, entropy));
    if (options_.loss.kl_beta != 0) {
      logp_reference.resize(batch.num_targets());
      RETURN_IF_ERROR(reference_->ForwardOnly(fields.sequences, logp_reference));
    }
  }
  const std::span<const float> logp_old = update.logp_old.empty() ? logp_new : update.logp_old[round.index];
  if (!options_.truncated_sampling) update.totals.AddMismatch(batch, logp_old);
  for (size_t s = 0; s < batch.num_sequences(); ++s) {
    CompletionLogProbs<float> completion;
    completion.advantages = batch.Targets(std::span<const double>(fields.advantages), s);
    completion.logp_new = batch.Targets(std::span<const float>(logp_new), s);
    completion.logp_old = batch.Targets(logp_old, s);
    completion.logp_behavior = batch.Targets(std::span<const float>(fields.behavior_logprobs), s);
    completion.logp_reference = batch.Targets(std::span<const float>(logp_reference), s);
    completion.credit = batch.Targets(std::span<const float>(fields.credit), s);
    completion.entropy = batch.Targets(std::span<const float>(entropy), s);
    AddPolicyLoss<float>(options_.loss, kUnscaled, completion, batch.Targets(std::span<float>(gradient), s),
                         batch.Targets(std::span<float>(entropy_gradient), s), update.totals.loss);
  }
  const PhaseTimer timer(seconds.backward);
  return policy_->Backward({.logprobs = gradient, .entropies = entropy_gradient}, round.reduce_over);
}

absl::Status Trainer::RunUpdate(OpenStep& step, Update& update) {
  return RunRounds(update.plan, step.current, update.next_round, [&](Round round, const TrainBatch& batch) {
    if (!step.complete()) round.reduce_over = nullptr;  // the sums would be under way while groups are awaited
    return RunBatch(round, batch, update, step.seconds);
  });
}

absl::StatusOr<Trainer::StepOutcome> Trainer::ReduceAndStep(TokenTotals& totals, double scale, PhaseSeconds& seconds) {
  {
    const WorkTimer noted(work_, LearnerWork::kExchange);
    const PhaseTimer timer(seconds.allreduce);
    RETURN_IF_ERROR(policy_->state().ReduceGradients(collective_));
    RETURN_IF_ERROR(totals.Reduce(collective_));
    totals.loss.Scale(scale);
  }
  const WorkTimer noted(work_, LearnerWork::kOptimizer);
  const PhaseTimer timer(seconds.optimizer);
  StepOutcome outcome;
  outcome.lr = options_.schedule.At(counts_.taken + counts_.skipped);
  ASSIGN_OR_RETURN(
      outcome.result,
      policy_->state().Step(options_.optimizer, {.t = counts_.taken + 1, .lr = outcome.lr, .gradient_scale = scale},
                            collective_));
  (outcome.result.skipped ? counts_.skipped : counts_.taken) += 1;
  skipped_in_row_ = outcome.result.skipped ? skipped_in_row_ + 1 : 0;
  return outcome;
}

absl::Status Trainer::BeginStep(size_t num_groups, PolicyVersion current) {
  if (open_.has_value()) return absl::FailedPreconditionError("Trainer: a step was begun and neither ended nor left.");
  const size_t parts = static_cast<size_t>(options_.updates_per_batch);
  if (num_groups < parts)
    return absl::InvalidArgumentError(
        absl::StrCat("A step of ", num_groups, " groups cannot be split among ", parts, " updates."));
  OpenStep step;
  step.current = current;
  step.num_groups = num_groups;
  for (size_t u = 0; u < parts; ++u) {
    const size_t groups = num_groups * (u + 1) / parts - num_groups * u / parts;
    step.updates.push_back({.plan = PlanOf(groups)});
  }
  StepRecord& stats = step.stats;
  stats.advantage_mean = stats.advantage_min = stats.advantage_max = 0;
  stats.completion_tokens = stats.prompt_tokens = stats.skipped_tokens = stats.streamed_s = 0;
  RETURN_IF_ERROR(policy_->state().ZeroGradients());
  work_.clear();
  open_ = std::move(step);
  return absl::OkStatus();
}

absl::Status Trainer::AddGroups(std::span<const TrajectoryGroup> groups) {
  if (!open_.has_value()) return absl::FailedPreconditionError("Trainer: no step was begun.");
  OpenStep& step = *open_;
  if (groups.size() > step.num_groups - step.groups.size()) {
    return absl::InvalidArgumentError(absl::StrCat("A step of ", step.num_groups, " groups has ", step.groups.size(),
                                                   " and was given ", groups.size(), " more."));
  }
  for (const TrajectoryGroup& group : groups) RETURN_IF_ERROR(CheckGroup(group));
  for (const TrajectoryGroup& group : groups) step.groups.push_back(&group);
  if (!step.complete() && !options_.streams()) return absl::OkStatus();
  const WorkTimer noted(work_, LearnerWork::kPasses);
  RETURN_IF_ERROR(Plan(step));
  if (step.complete()) return absl::OkStatus();
  RETURN_IF_ERROR(RunUpdate(step, step.updates.front()));
  step.stats.streamed_s = step.seconds.forward + step.seconds.backward;
  return absl::OkStatus();
}

absl::Status Trainer::AbandonStep() {
  if (!std::exchange(open_, std::nullopt).has_value() || !policy_->collective_passes()) return absl::OkStatus();
  return policy_->state().ReduceGradients(collective_);  // ends what a pass has left under way
}

absl::StatusOr<StepRecord> Trainer::TrainStep(std::span<const TrajectoryGroup> groups, PolicyVersion current) {
  RETURN_IF_ERROR(BeginStep(groups.size(), current));
  absl::Status added = AddGroups(groups);
  if (added.ok()) return FinishStep();
  AbandonStep().IgnoreError();  // the first error counts
  return added;
}

absl::StatusOr<StepRecord> Trainer::FinishStep() {
  if (!open_.has_value() || !open_->complete())
    return absl::FailedPreconditionError("Trainer: a step can be finished once all of its groups were added.");
  OpenStep step = *std::exchange(open_, std::nullopt);
  StepRecord& stats = step.stats;
  FillGroupStats(step.groups, step.current, options_.advantage_level, stats);
  stats.advantage_mean /= std::max(1.0, step.advantages);
  if (options_.shaping.changes_rewards())
    stats.reward_shaping_mean = (step.shaped_rewards - step.given_rewards) / std::max(1.0, step.completions);
  if (step.updates.size() > 1) {
    const WorkTimer noted(work_, LearnerWork::kPasses);
    for (size_t u = 1; u < step.updates.size(); ++u) RETURN_IF_ERROR(ComputeOld(step, step.updates[u]));
  }
  TokenTotals step_totals;
  double skipped = 0, grad_norm = 0;
  for (Update& update : step.updates) {
    if (&update != &step.updates.front()) RETURN_IF_ERROR(policy_->state().ZeroGradients());
    {
      const WorkTimer noted(work_, LearnerWork::kPasses);
      RETURN_IF_ERROR(RunUpdate(step, update));
    }
    const double scale = LossScale(options_.loss.aggregation, update.counts);
    ASSIGN_OR_RETURN(const StepOutcome outcome, ReduceAndStep(update.totals, scale, step.seconds));
    step_totals += update.totals;
    stats.lr = outcome.lr;
    skipped += outcome.result.skipped ? 1 : 0;
    if (!outcome.result.skipped) grad_norm += outcome.result.grad_norm;
  }
  stats.updates = static_cast<double>(step.updates.size());
  stats.skipped_updates = skipped;
  if (stats.updates > skipped) stats.grad_norm = grad_norm / (stats.updates - skipped);
  FillTotals(step_totals, stats);
  stats.phase_forward_s = step.seconds.forward;
  stats.phase_backward_s = step.seconds.backward;
  stats.phase_allreduce_s = step.seconds.allreduce;
  stats.phase_optimizer_s = step.seconds.optimizer;
  return stats;
}

void Trainer::FillTotals(const TokenTotals& totals, StepRecord& stats) const {
  const double charged_kl = stats.kl_k3;  // absent, or what the rewards were charged for
  totals.Fill(stats);
  if (options_.loss.kl_beta == 0) stats.kl_k3 = charged_kl;
  stats.loss = totals.loss.loss / stats.updates;
  stats.loss_kl = totals.loss.kl_loss / stats.updates;
  stats.loss_entropy = totals.loss.entropy_loss / stats.updates;
  stats.loss_policy = stats.loss - stats.loss_kl - stats.loss_entropy;
  if (options_.loss.kl_beta == 0) stats.loss_kl = kAbsent;
  if (options_.loss.entropy_coefficient == 0) stats.loss_entropy = kAbsent;
  if (!options_.loss.tis_cap.has_value()) stats.tis_mean = stats.tis_max = stats.tis_capped_share = kAbsent;
}

absl::StatusOr<SftStats> Trainer::SftStep(const std::vector<SftExample>& examples) {
  if (examples.empty()) return absl::InvalidArgumentError("A supervised step needs at least one example.");
  SftStats stats;
  MicroBatchPlan plan = PlanOf(examples.size());
  for (const SftExample& example : examples) {
    SequenceView view;
    view.prompt = example.prompt_token_ids;
    view.completion = example.completion_token_ids;
    RETURN_IF_ERROR(CheckSequences(std::span(&view, 1), options_.micro_batch_tokens, policy_->vocab_size()));
    stats.completion_tokens += static_cast<int64_t>(view.completion.size());
    stats.prompt_tokens += static_cast<int64_t>(view.prompt.size());
    plan.Add(std::span(&view, 1));
  }
  const double weight = 1.0 / static_cast<double>(stats.completion_tokens);
  TokenTotals totals;
  RETURN_IF_ERROR(policy_->state().ZeroGradients());
  size_t next = 0;
  const auto run = [&](const Round& round, const TrainBatch& batch) -> absl::Status {
    std::vector<float> logprobs(batch.num_targets());
    {
      const PhaseTimer timer(stats.seconds.forward);
      RETURN_IF_ERROR(policy_->Forward(batch.fields().sequences, logprobs, {}));
    }
    for (const float logprob : logprobs) totals.loss.loss -= weight * logprob;
    const PhaseTimer timer(stats.seconds.backward);
    const std::vector<float> gradient(logprobs.size(), static_cast<float>(-weight));
    return policy_->Backward({.logprobs = gradient}, round.reduce_over);
  };
  RETURN_IF_ERROR(RunRounds(plan, PolicyVersion{}, next, run));
  ASSIGN_OR_RETURN(const StepOutcome outcome, ReduceAndStep(totals, /*scale=*/1, stats.seconds));
  stats.loss = totals.loss.loss;
  stats.grad_norm = outcome.result.grad_norm;
  stats.lr = outcome.lr;
  stats.skipped = outcome.result.skipped;
  return stats;
}

}  // namespace tactus
