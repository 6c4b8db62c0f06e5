#include "learner/algo/policy_loss.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace tactus {
namespace {

struct Term {
  double value = 0;
  double slope = 0;  // d value / d logp_new
  bool clipped_low = false, clipped_high = false;
};

// -min(ratio A, clip(ratio) A), where A < 0 at most -clip_dual A. The gradient is that of the unclipped branch, or
// none.
Term ClipTerm(const PolicyLossOptions& options, double ratio, double advantage) {
  const double unclipped = ratio * advantage;
  const double clipped = std::clamp(ratio, 1 - options.clip_low, 1 + options.clip_high) * advantage;
  if (clipped < unclipped) return {-clipped, 0, ratio<1, ratio> 1};
  const double bound = options.clip_dual * advantage;
  if (options.clip_dual > 0 && advantage < 0 && unclipped < bound) return {-bound, 0, false, true};
  return {-unclipped, -unclipped};
}

Term CispoTerm(const PolicyLossOptions& options, double ratio, double advantage, double logp_new) {
  const double weight = std::clamp(ratio, 1 - options.clip_low, 1 + options.clip_high);
  return {-weight * advantage * logp_new, -weight * advantage, weight > ratio, weight < ratio};
}

// Whether a token's ratio is that of its whole completion.
bool SequenceRatio(PolicyLossKind loss) {
  switch (loss) {
    case PolicyLossKind::kGspo:
      return true;
    case PolicyLossKind::kClip:
    case PolicyLossKind::kCispo:
      return false;
  }
  std::abort();
}

Term TermOf(const PolicyLossOptions& options, double ratio, double advantage, double logp_new) {
  switch (options.loss) {
    case PolicyLossKind::kClip:
    case PolicyLossKind::kGspo:  // the ratio is the completion's
      return ClipTerm(options, ratio, advantage);
    case PolicyLossKind::kCispo:
      return CispoTerm(options, ratio, advantage, logp_new);
  }
  std::abort();
}

double TokenAdvantage(CreditSignRule rule, double advantage, double credit) {
  switch (rule) {
    case CreditSignRule::kNone:
      return advantage;
    case CreditSignRule::kV1:
      return advantage >= 0 ? advantage * credit : advantage;
    case CreditSignRule::kV2:
      return advantage * credit;
  }
  std::abort();
}

// The weight of one token of a completion with `own_tokens` trained tokens.
double AggregationWeight(const PolicyLossOptions& options, const GlobalCounts& counts, int64_t own_tokens) {
  switch (options.aggregation) {
    case LossAggregation::kTokenMean:
      return 1.0 / static_cast<double>(counts.tokens);
    case LossAggregation::kSeqMean:
      return 1.0 / (static_cast<double>(counts.completions) * static_cast<double>(own_tokens));
    case LossAggregation::kFixedLength:
      return 1.0 / (static_cast<double>(counts.completions) * static_cast<double>(options.fixed_length_tokens));
  }
  std::abort();
}

// exp(x) - x - 1 >= 0; expm1 keeps the digits where x is small.
double K3(double log_ratio) { return std::expm1(log_ratio) - log_ratio; }

// d KlEstimate(ref - new) / d new.
double KlSlope(KlEstimator estimator, double log_ratio) {
  switch (estimator) {
    case KlEstimator::kK1:
      return 1;
    case KlEstimator::kK2:
      return -log_ratio;
    case KlEstimator::kK3:
      return -std::expm1(log_ratio);
  }
  std::abort();
}

struct Weight {
  double value = 1;
  bool out_of_bounds = false;
};

Weight ImportanceWeight(const PolicyLossOptions& options, double log_weight) {
  const double full = std::exp(log_weight);
  const bool above = full > *options.tis_cap;
  switch (options.tis_rule) {
    case ImportanceRule::kTruncate:
      return {std::min(full, *options.tis_cap), above};
    case ImportanceRule::kMask: {
      const bool out = above || full < options.tis_floor;
      return {out ? 0 : full, out};
    }
  }
  std::abort();
}

template <typename T>
bool Trained(const CompletionLogProbs<T>& completion, size_t t) {
  return completion.mask.empty() || completion.mask[t] != 0;
}

// The sum of a - b over the trained tokens.
template <typename T>
double SumLogRatio(const CompletionLogProbs<T>& completion, std::span<const T> a, std::span<const T> b) {
  double sum = 0;
  for (size_t t = 0; t < a.size(); ++t) {
    if (Trained(completion, t)) sum += double{a[t]} - double{b[t]};
  }
  return sum;
}

// What all tokens of a completion share.
struct Shared {
  double weight = 0;                      // in the aggregation
  std::optional<double> log_ratio = {};   // in place of their own
  std::optional<Weight> importance = {};  // likewise
};

template <typename T>
Shared SharedOf(const PolicyLossOptions& options, const GlobalCounts& counts, const CompletionLogProbs<T>& completion,
                int64_t own_tokens) {
  const double tokens = static_cast<double>(own_tokens);
  Shared shared{.weight = AggregationWeight(options, counts, own_tokens)};
  if (SequenceRatio(options.loss)) {
    shared.log_ratio = SumLogRatio(completion, completion.logp_new, completion.logp_old) / tokens;
  }
  if (!options.tis_cap.has_value()) {
    shared.importance = Weight{};
    return shared;
  }
  if (options.tis_level == ImportanceLevel::kToken) return shared;
  const double sum = SumLogRatio(completion, completion.logp_old, completion.logp_behavior);
  shared.importance = ImportanceWeight(options, options.tis_level == ImportanceLevel::kGeometric ? sum / tokens : sum);
  return shared;
}

}  // namespace

double KlEstimate(KlEstimator estimator, double log_ratio) {
  switch (estimator) {
    case KlEstimator::kK1:
      return -log_ratio;
    case KlEstimator::kK2:
      return 0.5 * log_ratio * log_ratio;
    case KlEstimator::kK3:
      return K3(log_ratio);
  }
  std::abort();
}

double LossScale(LossAggregation aggregation, const GlobalCounts& counts) {
  const auto of = [](int64_t count) { return count == 0 ? 0 : 1.0 / static_cast<double>(count); };
  switch (aggregation) {
    case LossAggregation::kTokenMean:
      return of(counts.tokens);
    case LossAggregation::kSeqMean:
    case LossAggregation::kFixedLength:
      return of(counts.completions);
  }
  std::abort();
}

LossTotals& LossTotals::operator+=(const LossTotals& other) {
  for (const auto member : kLossSums) this->*member += other.*member;
  for (const auto member : kLossMaxima) this->*member = std::max(this->*member, other.*member);
  return *this;
}

template <typename T>
void AddPolicyLoss(const PolicyLossOptions& options, const GlobalCounts& counts,
                   const CompletionLogProbs<T>& completion, std::span<T> gradient, std::span<T> entropy_gradient,
                   LossTotals& totals) {
  const size_t length = completion.logp_new.size();
  std::fill(gradient.begin(), gradient.end(), T{0});
  std::fill(entropy_gradient.begin(), entropy_gradient.end(), T{0});
  int64_t own_tokens = 0;
  for (size_t t = 0; t < length; ++t) own_tokens += Trained(completion, t) ? 1 : 0;
  if (own_tokens == 0) return;
  const Shared shared = SharedOf(options, counts, completion, own_tokens);
  const double weight = shared.weight;

  LossTotals sum;
  sum.tokens = static_cast<double>(own_tokens);
  for (size_t t = 0; t < length; ++t) {
    if (!Trained(completion, t)) continue;
    const double logp_new = completion.logp_new[t], logp_old = completion.logp_old[t];
    const double ratio = std::exp(shared.log_ratio.value_or(logp_new - logp_old));
    const double credit = options.sign_rule == CreditSignRule::kNone ? 1.0 : double{completion.credit[t]};
    const double own = completion.advantages[completion.advantages.size() == 1 ? 0 : t];
    const double advantage = TokenAdvantage(options.sign_rule, own, credit);
    const Weight importance = shared.importance.has_value()
                                  ? *shared.importance
                                  : ImportanceWeight(options, logp_old - double{completion.logp_behavior[t]});
    const double tis = importance.value;
    Term term;  // stays exactly 0 without an advantage or a weight, also where the ratio overflows
    if (advantage != 0 && tis != 0) term = TermOf(options, ratio, advantage, logp_new);
    double value = tis * term.value, slope = tis * term.slope;
    if (options.kl_beta != 0) {
      const double log_ratio = double{completion.logp_reference[t]} - logp_new;
      const double estimate = KlEstimate(options.kl_estimator, log_ratio);
      sum.kl_reference += K3(log_ratio);
      sum.kl_loss += weight * options.kl_beta * estimate;
      value += options.kl_beta * estimate;
      slope += options.kl_beta * KlSlope(options.kl_estimator, log_ratio);
    }
    if (options.entropy_coefficient != 0) {
      const double bonus = options.entropy_coefficient * double{completion.entropy[t]};
      sum.entropy_loss -= weight * bonus;
      value -= bonus;
      if (!entropy_gradient.empty()) entropy_gradient[t] = static_cast<T>(-weight * options.entropy_coefficient);
    }
    sum.loss += weight * value;
    gradient[t] = static_cast<T>(weight * slope);
    sum.clipped_low += term.clipped_low ? 1 : 0;
    sum.clipped_high += term.clipped_high ? 1 : 0;
    sum.kl_old += K3(logp_new - logp_old);
    sum.tis_capped += importance.out_of_bounds ? 1 : 0;
    sum.tis_weight += tis;
    sum.ratio_max = std::max(sum.ratio_max, ratio);
    sum.tis_weight_max = std::max(sum.tis_weight_max, tis);
  }
  totals += sum;
}

template void AddPolicyLoss<float>(const PolicyLossOptions&, const GlobalCounts&, const CompletionLogProbs<float>&,
                                   std::span<float>, std::span<float>, LossTotals&);
template void AddPolicyLoss<double>(const PolicyLossOptions&, const GlobalCounts&, const CompletionLogProbs<double>&,
                                    std::span<double>, std::span<double>, LossTotals&);

}  // namespace tactus
