#include "common/environment/environment_judge.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/back_off.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"

namespace tactus {
namespace {

constexpr absl::Duration kFirstPause = absl::Milliseconds(100);
constexpr absl::Duration kLongestPause = absl::Seconds(1);

}  // namespace

EnvironmentJudge::EnvironmentJudge(std::unique_ptr<EnvironmentClient> client, const Options& options)
    : client_(std::move(client)), options_(options) {}

absl::StatusOr<std::vector<Reward>> EnvironmentJudge::Score(const Question& question, std::span<const Answer> answers,
                                                            absl::Time deadline) {
  BackOff pauses(kFirstPause, kLongestPause, /*jitter=*/true);
  std::string last = absl::StrCat("environment ", client_->address(), ": there was no time left to ask it");
  for (absl::Duration left; (left = deadline - MonotonicNow()) > absl::ZeroDuration();) {
    absl::StatusOr<std::vector<Reward>> rewards = CallOnce(question, answers, std::min(left, options_.call_timeout));
    if (rewards.ok() || absl::IsCancelled(rewards.status())) return rewards;
    last = std::string(rewards.status().message());
    if (!Pause(std::min(pauses.Next(), deadline - MonotonicNow()))) {
      return absl::CancelledError(absl::StrCat("environment ", client_->address(), ": closed"));
    }
  }
  return absl::UnavailableError(absl::StrCat("no reward in time: ", last));
}

absl::StatusOr<std::vector<Reward>> EnvironmentJudge::CallOnce(const Question& question,
                                                               std::span<const Answer> answers,
                                                               absl::Duration timeout) {
  const absl::Time start = MonotonicNow();
  absl::StatusOr<std::vector<Reward>> rewards = client_->Score(question, answers, timeout);
  if (absl::IsCancelled(rewards.status())) return rewards;
  if (options_.metrics != nullptr) {
    options_.metrics->Observe(Metric::kEnvironmentCallDuration, SecondsSince(start));
    options_.metrics->Add(Metric::kEnvironmentCalls, 1, OutcomeName(rewards.status()));
  }
  absl::MutexLock lock(&mu_);
  if (!rewards.ok() && log_.Allow(MonotonicNow() - absl::UnixEpoch())) {
    TACTUS_LOG(WARNING) << rewards.status().message() << "; asking again" << log_.LeftOut();
  } else if (rewards.ok() && !trouble_.empty()) {
    TACTUS_LOG(INFO) << "environment " << client_->address() << " gives rewards again";
  }
  trouble_ = rewards.ok() ? "" : std::string(rewards.status().message());
  return rewards;
}

bool EnvironmentJudge::Pause(absl::Duration pause) {
  absl::MutexLock lock(&mu_);
  return !changed_.AwaitFor(&mu_, pause, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return closed_; });
}

std::string EnvironmentJudge::Trouble() const {
  absl::MutexLock lock(&mu_);
  return trouble_;
}

void EnvironmentJudge::Close() {
  client_->Close();
  absl::MutexLock lock(&mu_);
  closed_ = true;
  changed_.SignalAll();
}

}  // namespace tactus
