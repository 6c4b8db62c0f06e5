// The policy-gradient losses, their exact gradient with respect to each token's log-prob, and what to watch about them.
//
// For a completion, token t of it with advantage A (its answer's, or its turn's) trained where mask is 1, log-probs
// new, old (proximal policy), behav (what sampled the token), ref (starting policy):
//   A_t    = A * gamma_t where the sign rule lets the weight apply, else A
//   ratio  = exp(new - old); GSPO: exp(mean over the completion's trained tokens of new - old)
//   w_t    the importance weight, a constant; 1 when off. u = exp of old - behav of the token, or of their sum over the
//            completion, or of their mean (geometric). Truncated: min(u, tis_cap) (Yao et al., "Your efficient RL
//            framework secretly brings you off-policy RL training", 2025). Masked: u where tis_floor <= u <= tis_cap,
//            else 0 (by token: IcePop, Ling Team, "Every step evolves", arXiv 2510.18855)
//   clip   -w min(ratio A_t, clip(ratio, 1 - low, 1 + high) A_t)
//            PPO: Schulman et al., arXiv 1707.06347; the two bounds: DAPO, Yu et al., arXiv 2503.14476; with a large
//            tis_cap: decoupled PPO, Hilton et al., arXiv 2110.00641. With clip_dual = c, where A_t < 0: at most
//            -w c A_t (Ye et al., arXiv 1912.09729)
//   gspo   the same with the sequence ratio s in its token form, sg[s] exp(new - sg[new]): d/dnew = -w s A_t unless
//            clipped. Zheng et al., arXiv 2507.18071: their GSPO-token, which is their GSPO where all A_t are one
//   cispo  -sg[clip(ratio)] w A_t new. MiniMax-M1, arXiv 2506.13585
//   kl     + kl_beta k(ref - new), of Schulman's "Approximating KL divergence"; without w_t:
//            k1(x) = -x, k2(x) = x^2 / 2, k3(x) = exp(x) - x - 1
//
//   entropy  -entropy_coefficient H_t, H_t the entropy of the distribution that token t was drawn from, under the new
//   policy
//            (Williams and Peng, "Function optimization using connectionist reinforcement learning algorithms", 1991).
//            Its gradient is with respect to H_t; what makes it one of the logits is the decoder's (LogProbBackward)
//
// Completions are aggregated by weights that come from explicit global counts, so the sum over any split of a batch
// into micro-batches or ranks is the same loss:
//   token_mean 1 / tokens,  seq_mean 1 / (completions * the completion's own trained tokens),
//   fixed_length 1 / (completions * fixed_length_tokens)
// While a step's groups still come its counts are not known: with kUnscaled in their place losses and gradients lack
// one factor, LossScale, the same for every token. It is applied once, in double, when all are in.
// Pure functions: thread-safe. All arithmetic is double. A masked token has no effect, whatever stands there.
#pragma once

#include <cstdint>
#include <iterator>
#include <optional>
#include <span>

namespace tactus {

enum class PolicyLossKind { kClip, kGspo, kCispo };
enum class LossAggregation { kTokenMean, kSeqMean, kFixedLength };
// Where the credit weight gamma multiplies the advantage: nowhere, where the advantage is >= 0, everywhere.
enum class CreditSignRule { kNone, kV1, kV2 };
// Over what an importance weight is taken, and what becomes of one out of bounds.
enum class ImportanceLevel { kToken, kSequence, kGeometric };
enum class ImportanceRule { kTruncate, kMask };
enum class KlEstimator { kK1, kK2, kK3 };

struct PolicyLossOptions {
  PolicyLossKind loss = PolicyLossKind::kClip;
  LossAggregation aggregation = LossAggregation::kTokenMean;
  int64_t fixed_length_tokens = 0;  // > 0 with kFixedLength
  double clip_low = 0.2;
  double clip_high = 0.2;
  std::optional<double> tis_cap;
  double kl_beta = 0;
  CreditSignRule sign_rule = CreditSignRule::kV2;
  double clip_dual = 0;  // > 1 + clip_high, or 0 = off
  ImportanceLevel tis_level = ImportanceLevel::kToken;
  ImportanceRule tis_rule = ImportanceRule::kTruncate;
  double tis_floor = 0;  // kMask's
  KlEstimator kl_estimator = KlEstimator::kK3;
  double entropy_coefficient = 0;

  // Whether a token without an advantage has a loss.
  bool trains_without_signal() const { return kl_beta != 0 || entropy_coefficient != 0; }
};

// The estimate of KL(a || b) from one token that a sampled, with log_ratio = log b - log a.
double KlEstimate(KlEstimator estimator, double log_ratio);

// Of the whole optimizer step: over all ranks and micro-batches, completions without a trained token included.
struct GlobalCounts {
  int64_t completions = 0;
  int64_t tokens = 0;  // trained ones
};
inline constexpr GlobalCounts kUnscaled{.completions = 1, .tokens = 1};

// What losses and gradients under kUnscaled are to be multiplied by to be those under `counts`. 0 of none.
double LossScale(LossAggregation aggregation, const GlobalCounts& counts);

// One completion, T tokens. Spans that are not needed may be empty: logp_behavior without tis_cap, logp_reference with
// kl_beta 0, credit with kNone, mask when every token is trained.
template <typename T>
struct CompletionLogProbs {
  std::span<const double> advantages;  // [T], or [1] that all share
  std::span<const T> logp_new;         // [T]
  std::span<const T> logp_old;         // [T]
  std::span<const T> logp_behavior;    // [T]
  std::span<const T> logp_reference;   // [T]
  std::span<const T> credit;           // [T]
  std::span<const T> entropy;          // [T]; may be empty with entropy_coefficient 0
  std::span<const uint8_t> mask;       // [T] 0 or 1
};

// Sums (and maxima) over trained tokens; add up over completions, micro-batches and ranks.
struct LossTotals {
  double loss = 0;          // under the counts it was computed with
  double kl_loss = 0;       // the KL term's part of it
  double entropy_loss = 0;  // the entropy bonus's
  double tokens = 0;
  // Tokens whose policy gradient the clip removed (cispo: changed), at the lower and at the upper bound (with clip_dual
  // that, too).
  double clipped_low = 0, clipped_high = 0;
  double kl_old = 0;        // k3 of the proximal policy against the new one
  double kl_reference = 0;  // k3 against the starting policy; 0 without one
  double tis_weight = 0;
  double tis_capped = 0;  // tokens whose weight was out of bounds
  double ratio_max = 0;
  double tis_weight_max = 0;

  LossTotals& operator+=(const LossTotals& other);
  void Scale(double factor) {
    loss *= factor;
    kl_loss *= factor;
    entropy_loss *= factor;
  }
};

// What adds up, and what counts by its maximum: over completions, micro-batches, updates and ranks.
inline constexpr double LossTotals::*kLossSums[] = {
    &LossTotals::loss,        &LossTotals::kl_loss,      &LossTotals::entropy_loss, &LossTotals::tokens,
    &LossTotals::clipped_low, &LossTotals::clipped_high, &LossTotals::kl_old,       &LossTotals::kl_reference,
    &LossTotals::tis_weight,  &LossTotals::tis_capped};
inline constexpr double LossTotals::*kLossMaxima[] = {&LossTotals::ratio_max, &LossTotals::tis_weight_max};
static_assert(sizeof(LossTotals) == sizeof(double) * (std::size(kLossSums) + std::size(kLossMaxima)),
              "each total stands in one of the two lists");

// Adds the completion's share to `totals` and writes d loss / d logp_new [T] and, unless that is empty, d loss / d
// entropy [T], both 0 where masked.
// T = float or double.
template <typename T>
void AddPolicyLoss(const PolicyLossOptions& options, const GlobalCounts& counts,
                   const CompletionLogProbs<T>& completion, std::span<T> gradient, std::span<T> entropy_gradient,
                   LossTotals& totals);

}  // namespace tactus
