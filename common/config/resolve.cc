#include "common/config/resolve.h"

#include <cstdlib>

#include "common/config/task_sources.h"
#include "proto/config.pb.h"

namespace tactus::config {

namespace {

struct PaperDefaults {
  CreditOptions::SignRule sign_rule;
  int32_t horizon_max_tokens;
};

PaperDefaults DefaultsOf(CreditOptions::Paper paper) {
  switch (paper) {
    case CreditOptions::PAPER_V1:
      return {CreditOptions::SIGN_V1, 50};
    case CreditOptions::PAPER_V2:
      return {CreditOptions::SIGN_V2, 100};
  }
  std::abort();  // the enum is closed
}

}  // namespace

void Resolve(RunConfig* config) {
  ResolveSources(config->mutable_task());
  AlgorithmOptions& algorithm = *config->mutable_algorithm();
  if (!algorithm.has_fixed_length_tokens()) {
    algorithm.set_fixed_length_tokens(config->rollout().max_completion_tokens());
  }
  CreditOptions& credit = *config->mutable_credit();
  const PaperDefaults paper = DefaultsOf(credit.paper());
  if (!credit.has_sign_rule()) credit.set_sign_rule(paper.sign_rule);
  if (!credit.has_horizon_max_tokens()) credit.set_horizon_max_tokens(paper.horizon_max_tokens);
  EvalOptions& eval = *config->mutable_eval();
  if (!eval.has_temperature()) eval.set_temperature(config->rollout().temperature());
  for (EvalSet& set : *eval.mutable_sets()) {
    if (!set.has_temperature()) set.set_temperature(eval.temperature());
  }
}

}  // namespace tactus::config
