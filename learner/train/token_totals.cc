#include "learner/train/token_totals.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

#include "common/base/status_macros.h"

namespace tactus {
namespace {

constexpr double MismatchTotals::*kMismatchSums[] = {&MismatchTotals::tokens, &MismatchTotals::abs,
                                                     &MismatchTotals::kl};
constexpr double MismatchTotals::*kMismatchMaxima[] = {&MismatchTotals::max_abs};
static_assert(sizeof(MismatchTotals) == sizeof(double) * (std::size(kMismatchSums) + std::size(kMismatchMaxima)),
              "each total stands in one of the two lists");
static_assert(sizeof(TokenTotals) == sizeof(LossTotals) + 2 * sizeof(MismatchTotals), "each part is added up below");

template <typename T>
void Append(T& totals, std::span<double T::*const> members, std::vector<double*>& fields) {
  for (const auto member : members) fields.push_back(&(totals.*member));
}

std::vector<double*> Sums(TokenTotals& t) {
  std::vector<double*> fields;
  Append<LossTotals>(t.loss, kLossSums, fields);
  Append<MismatchTotals>(t.mismatch, kMismatchSums, fields);
  Append<MismatchTotals>(t.on_policy, kMismatchSums, fields);
  return fields;
}
std::vector<double*> Maxima(TokenTotals& t) {
  std::vector<double*> fields;
  Append<LossTotals>(t.loss, kLossMaxima, fields);
  Append<MismatchTotals>(t.mismatch, kMismatchMaxima, fields);
  Append<MismatchTotals>(t.on_policy, kMismatchMaxima, fields);
  return fields;
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
