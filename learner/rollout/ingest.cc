#include "learner/rollout/ingest.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace tactus {

Ingest::Ingest(Options options, absl::Mutex* mu, RolloutLedger* ledger, EvalBoard* board)
    : options_(std::move(options)), mu_(*mu), ledger_(*ledger), board_(*board) {}

Ingest::Judged Ingest::Decode(const Submission& submission) const {
  const SubmissionLog::Payload bytes = submission.bytes();
  const bool evaluation = IsEvaluation(LeaseIdOf(bytes));
  if (evaluation && options_.evaluation_samples == 0) {
    return {absl::InvalidArgumentError("the group answers a held-out prompt; this run leases none"), evaluation};
  }
  Judged item{
      DecodeGroup(bytes, evaluation ? EvaluationLimits(options_.limits, options_.evaluation_samples) : options_.limits),
      evaluation};
  if (item.group.ok() && item.group->actor_id != submission.actor_id) {
    item.group = absl::InvalidArgumentError(
        absl::StrCat("group.actor_id is not ", submission.actor_id, ", whose stream it came on"));
  }
  if (item.group.ok()) item.group->arrived_s = absl::ToDoubleSeconds(submission.arrived);
  return item;
}

absl::Status Ingest::Append(const std::vector<SubmissionLog::Payload>& groups) {
  if (options_.log == nullptr || groups.empty()) return absl::OkStatus();
  absl::Status status = options_.log->Append(groups);
  if (status.ok()) return status;
  TACTUS_LOG(ERROR) << "cannot make " << groups.size() << " groups durable: " << status.message();
  return absl::UnavailableError(absl::StrCat("the learner cannot make the group durable: ", status.message()));
}

absl::Status Ingest::Submit(Judged item, const absl::Status& durable) {
  if (item.group.ok()) {
    // Between judging and now a lease can only have gone, never come: what is accepted here is in the log.
    return item.to_log && !durable.ok() ? durable : ledger_.Submit(*std::move(item.group));
  }
  ledger_.CountMalformed();
  if (const absl::string_view kind = NonfiniteValue(item.group.status()); !kind.empty()) {
    ++nonfinite_groups_;
    if (options_.metrics != nullptr) options_.metrics->Add(Metric::kNonfiniteValues, 1, kind);
  }
  return item.group.status();
}

absl::Status Ingest::SubmitEvaluation(Judged item, absl::Duration arrived) {
  absl::Status status = item.group.ok() ? board_.Submit(*std::move(item.group), arrived) : item.group.status();
  if (options_.metrics != nullptr) {
    options_.metrics->Add(Metric::kEvalAnswers, 1,
                          status.ok()                ? "accepted"
                          : absl::IsNotFound(status) ? "late"
                                                     : "refused");
  }
  return status;
}

void Ingest::Process(const std::vector<Submission>& batch) {
  std::vector<Judged> judged;
  judged.reserve(batch.size());
  for (const Submission& submission : batch) judged.push_back(Decode(submission));
  absl::MutexLock process_lock(&process_mu_);
  std::vector<SubmissionLog::Payload> to_log;
  {
    absl::MutexLock lock(&mu_);
    for (size_t i = 0; i < batch.size(); ++i) {
      Judged& item = judged[i];
      item.to_log = item.group.ok() && !item.evaluation && !ledger_.Judge(*item.group).rejected.has_value();
      if (item.to_log) to_log.push_back(batch[i].bytes());
    }
  }
  const absl::Status durable = Append(to_log);
  absl::MutexLock lock(&mu_);
  for (size_t i = 0; i < batch.size(); ++i) {
    const absl::Status status = judged[i].evaluation ? SubmitEvaluation(std::move(judged[i]), batch[i].arrived)
                                                     : Submit(std::move(judged[i]), durable);
    if (absl::IsInvalidArgument(status) && refusals_log_.Allow(batch[i].arrived)) {
      TACTUS_LOG(WARNING) << "refused a group of " << batch[i].actor_id << ": " << status.message()
                          << refusals_log_.LeftOut();
    }
    options_.acknowledge(batch[i], status);
  }
}

absl::StatusOr<LedgerSnapshot> Ingest::Snapshot() {
  absl::MutexLock process_lock(&process_mu_);
  absl::StatusOr<LedgerSnapshot> snapshot = [this] {
    absl::MutexLock lock(&mu_);
    return ledger_.Snapshot();
  }();
  if (snapshot.ok() && options_.log != nullptr) {
    ASSIGN_OR_RETURN(snapshot->log_segment, options_.log->StartSegment());
  }
  return snapshot;
}

absl::Status Ingest::Replay(uint64_t first_segment) {
  if (options_.log == nullptr) return absl::OkStatus();
  int64_t unreadable = 0;
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(options_.log->Replay(first_segment, MaxGroupBytes(options_.limits), [&](absl::string_view bytes) {
    mu_.AssertHeld();
    absl::StatusOr<TrajectoryGroup> group = DecodeGroup(bytes, options_.limits);
    group.ok() ? ledger_.Replay(*std::move(group)) : void(++unreadable);
  }));
  if (unreadable > 0) {
    TACTUS_LOG(WARNING) << "left out " << unreadable << " logged groups that do not fit this run's limits";
  }
  return absl::OkStatus();
}

absl::Status Ingest::Truncate(uint64_t first_needed_segment) {
  return options_.log == nullptr ? absl::OkStatus() : options_.log->RemoveBefore(first_needed_segment);
}

}  // namespace tactus
