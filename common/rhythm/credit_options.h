// The credit of a run's configuration as the pure functions take it. Thread-safe: no state.
#pragma once

#include "absl/status/statusor.h"
#include "common/rhythm/credit.h"
#include "proto/config.pb.h"

namespace tactus {

// `options` is resolved. InvalidArgument names the field.
absl::StatusOr<CreditParams> CreditParamsFromProto(const config::CreditOptions& options);

}  // namespace tactus
