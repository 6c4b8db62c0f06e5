// Judges by a user's server. A call that fails, or whose answer cannot be used, is repeated with growing pauses of at
// most a second until the answers' deadline; then there is no verdict, and never a reward in its place.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/cond_var.h"
#include "common/base/log_limiter.h"
#include "common/environment/grpc_environment_client.h"
#include "common/metrics/metric_set.h"
#include "common/tasks/judge.h"

namespace tactus {

// Thread-safe. Failures go to the log, a few lines at once and then one in ten seconds.
class EnvironmentJudge final : public Judge {
 public:
  struct Options {
    absl::Duration call_timeout;  // of one call
    int calls_at_once = 1;
    MetricSet* metrics = nullptr;  // an actor's; null: nobody asks. Outlives the judge
  };
  EnvironmentJudge(std::unique_ptr<EnvironmentClient> client, const Options& options);

  // Never InvalidArgument: what an answer key is, the server knows. Unavailable has what the last call ended with.
  absl::StatusOr<std::vector<Reward>> Score(const Question& question, std::span<const Answer> answers,
                                            absl::Time deadline) override ABSL_LOCKS_EXCLUDED(mu_);
  int calls_at_once() const override { return options_.calls_at_once; }
  // What the newest call failed with.
  std::string Trouble() const override ABSL_LOCKS_EXCLUDED(mu_);
  void Close() override ABSL_LOCKS_EXCLUDED(mu_);

 private:
  absl::StatusOr<std::vector<Reward>> CallOnce(const Question& question, std::span<const Answer> answers,
                                               absl::Duration timeout);
  // False: closed.
  bool Pause(absl::Duration pause) ABSL_LOCKS_EXCLUDED(mu_);

  const std::unique_ptr<EnvironmentClient> client_;
  const Options options_;
  mutable absl::Mutex mu_;
  CondVar changed_;  // closed_
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::string trouble_ ABSL_GUARDED_BY(mu_);
  LogLimiter log_ ABSL_GUARDED_BY(mu_){/*burst=*/3, /*per_second=*/0.1};
};

}  // namespace tactus
