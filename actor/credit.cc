#include "actor/credit.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/base/philox.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

using config::CreditOptions;

class UniformCredit : public CreditStrategy {
 public:
  std::vector<float> Weights(const CreditSignals& signals) const override {
    return std::vector<float>(signals.entropy.size(), 1.0f);
  }
};

// Amplifies the top share of positions by some per-token value.
class TopCredit : public CreditStrategy {
 public:
  TopCredit(Decimal share, double amplification) : share_(share), amplification_(static_cast<float>(amplification)) {}

  std::vector<float> Weights(const CreditSignals& signals) const override {
    std::vector<float> weights(signals.entropy.size(), 1.0f);
    for (const int32_t t : TopPositions(Values(signals), share_)) weights[t] = amplification_;
    return weights;
  }

 protected:
  virtual std::vector<double> Values(const CreditSignals& signals) const = 0;  // [N], larger = amplified first

 private:
  const Decimal share_;
  const float amplification_;
};

class RandomCredit : public TopCredit {
 public:
  using TopCredit::TopCredit;

 protected:
  // The smallest draws are chosen; negating keeps the order of ties.
  std::vector<double> Values(const CreditSignals& signals) const override {
    std::vector<double> values(signals.entropy.size());
    for (size_t t = 0; t < values.size(); ++t) {
      values[t] = -UniformDouble(TokenDraw(signals.seed, signals.prompt_id, signals.completion_index,
                                           static_cast<uint32_t>(t), DrawPurpose::kRandomCredit));
    }
    return values;
  }
};

class EntropyCredit : public TopCredit {
 public:
  using TopCredit::TopCredit;

 protected:
  std::vector<double> Values(const CreditSignals& signals) const override {
    return {signals.entropy.begin(), signals.entropy.end()};
  }
};

}  // namespace

std::vector<int32_t> TopPositions(std::span<const double> values, Decimal share) {
  if (values.empty()) return {};
  std::vector<int32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  const auto count = std::max<int64_t>(1, share.FloorOf(static_cast<int64_t>(values.size())));
  // A total order (position breaks ties), so an unstable selection has one result.
  std::nth_element(order.begin(), order.begin() + (count - 1), order.end(),
                   [&](int32_t a, int32_t b) { return values[a] != values[b] ? values[a] > values[b] : a < b; });
  order.resize(count);
  std::sort(order.begin(), order.end());
  return order;
}

absl::StatusOr<std::unique_ptr<CreditStrategy>> CreateCreditStrategy(const CreditOptions& options) {
  if (options.strategy() == CreditOptions::UNIFORM) return std::make_unique<UniformCredit>();
  ASSIGN_OR_RETURN(const Decimal share, Decimal::ParseShare(options.q(), "credit.q"));
  switch (options.strategy()) {
    case CreditOptions::RANDOM:
      return std::make_unique<RandomCredit>(share, options.amplification());
    case CreditOptions::ENTROPY:
      return std::make_unique<EntropyCredit>(share, options.amplification());
    default:
      return absl::UnimplementedError(absl::StrCat("credit.strategy ", CreditOptions::Strategy_Name(options.strategy()),
                                                   " reads attention, which this build does not measure: use UNIFORM, ",
                                                   "RANDOM or ENTROPY."));
  }
}

}  // namespace tactus
