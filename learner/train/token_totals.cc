#include "learner/train/token_totals.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/base/status_macros.h"

namespace tactus {
namespace {

// Every field that adds up, and every field whose maximum counts.
std::vector<double*> Sums(TokenTotals& t) {
  return {&t.loss.loss,    &t.loss.kl_loss,      &t.loss.tokens,      &t.loss.clipped_low, &t.loss.clipped_high,
          &t.loss.kl_old,  &t.loss.kl_reference, &t.loss.tis_weight,  &t.loss.tis_capped,  &t.mismatch.tokens,
          &t.mismatch.abs, &t.mismatch.kl,       &t.on_policy.tokens, &t.on_policy.abs,    &t.on_policy.kl};
}
std::vector<double*> Maxima(TokenTotals& t) {
  return {&t.loss.ratio_max, &t.loss.tis_weight_max, &t.mismatch.max_abs, &t.on_policy.max_abs};
}

std::vector<double> Values(const std::vector<double*>& fields) {
  std::vector<double> values;
  for (const double* field : fields) values.push_back(*field);
  return values;
}

}  // namespace

void MismatchTotals::Add(double behavior_logprob, double recomputed_logprob) {
  const double delta = recomputed_logprob - behavior_logprob;
  tokens += 1;
  abs += std::abs(delta);
  kl += std::expm1(delta) - delta;
  max_abs = std::max(max_abs, std::abs(delta));
}

void TokenTotals::AddMismatch(const TrainBatch& batch, std::span<const float> recomputed) {
  const TrainBatch::Fields& fields = batch.fields();
  for (size_t i = 0; i < fields.behavior_logprobs.size(); ++i) {
    mismatch.Add(fields.behavior_logprobs[i], recomputed[i]);
    if (!fields.on_policy.empty() && fields.on_policy[i] != 0) {
      on_policy.Add(fields.behavior_logprobs[i], recomputed[i]);
    }
  }
}

absl::Status TokenTotals::Reduce(Collective& collective) {
  const std::vector<double*> sums = Sums(*this), maxima = Maxima(*this);
  std::vector<double> added = Values(sums);
  RETURN_IF_ERROR(collective.AllReduceSum(std::span<double>(added)));
  const std::vector<double> mine = Values(maxima);
  std::vector<double> all(mine.size() * static_cast<size_t>(collective.size()));
  RETURN_IF_ERROR(collective.AllGather(mine, all));
  for (size_t i = 0; i < sums.size(); ++i) *sums[i] = added[i];
  for (size_t i = 0; i < all.size(); ++i) *maxima[i % mine.size()] = std::max(*maxima[i % mine.size()], all[i]);
  return absl::OkStatus();
}

TokenTotals& TokenTotals::operator+=(const TokenTotals& other) {
  TokenTotals copy = other;
  const std::vector<double*> sums = Sums(*this), maxima = Maxima(*this);
  const std::vector<double> added = Values(Sums(copy)), larger = Values(Maxima(copy));
  for (size_t i = 0; i < sums.size(); ++i) *sums[i] += added[i];
  for (size_t i = 0; i < maxima.size(); ++i) *maxima[i] = std::max(*maxima[i], larger[i]);
  return *this;
}

void TokenTotals::Fill(StepRecord& stats) const {
  stats.mismatch_tokens = mismatch.tokens;
  if (mismatch.tokens > 0) {
    stats.mismatch_mean = mismatch.abs / mismatch.tokens;
    stats.mismatch_max = mismatch.max_abs;
    stats.mismatch_kl = mismatch.kl / mismatch.tokens;
  }
  stats.mismatch_on_policy_tokens = on_policy.tokens;
  if (on_policy.tokens > 0) {
    stats.mismatch_on_policy_mean = on_policy.abs / on_policy.tokens;
    stats.mismatch_on_policy_max = on_policy.max_abs;
    stats.mismatch_on_policy_kl = on_policy.kl / on_policy.tokens;
  }
  if (loss.tokens == 0) return;
  stats.kl_proximal = loss.kl_old / loss.tokens;
  stats.kl_k3 = loss.kl_reference / loss.tokens;
  stats.clip_low_fraction = loss.clipped_low / loss.tokens;
  stats.clip_high_fraction = loss.clipped_high / loss.tokens;
  stats.clip_fraction = stats.clip_low_fraction + stats.clip_high_fraction;
  stats.ratio_max = loss.ratio_max;
  stats.tis_mean = loss.tis_weight / loss.tokens;
  stats.tis_max = loss.tis_weight_max;
  stats.tis_capped_share = loss.tis_capped / loss.tokens;
}

}  // namespace tactus
