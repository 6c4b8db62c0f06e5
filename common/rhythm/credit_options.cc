#include "common/rhythm/credit_options.h"

#include "common/base/status_macros.h"

namespace tactus {

absl::StatusOr<CreditParams> CreditParamsFromProto(const config::CreditOptions& options) {
  CreditParams params;
  ASSIGN_OR_RETURN(params.q, Decimal::ParseShare(options.q(), "credit.q"));
  ASSIGN_OR_RETURN(params.waad_quantile, Decimal::ParseShare(options.waad_quantile(), "credit.waad_quantile"));
  ASSIGN_OR_RETURN(params.delta_quantile, Decimal::ParseShare(options.delta_quantile(), "credit.delta_quantile"));
  params.amplification = options.amplification();
  params.lookback_tokens = options.lookback_tokens();
  params.alpha = options.alpha();
  return params;
}

}  // namespace tactus
