#include "learner/rollout/grpc_rollout_server.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/thread.h"
#include "common/rollout/grpc_channel.h"
#include "learner/rollout/grpc_rollout_server_impl.h"

namespace tactus {
namespace {

constexpr absl::Duration kWaitLogInterval = absl::Seconds(10);
constexpr absl::Duration kFinishTimeout = absl::Seconds(5);

absl::Status CheckOptions(const RolloutServerOptions& options) {
  if (options.ledger.completions_per_prompt != options.limits.completions_per_prompt) {
    return absl::InvalidArgumentError("ledger and limits differ in completions_per_prompt");
  }
  if (MaxLeaseBytes(options.limits) > kMaxChunkBytes) {
    return absl::InvalidArgumentError(absl::StrCat("rollout.max_prompt_tokens is ", options.limits.max_prompt_tokens,
                                                   ": a lease would not fit into a message of ", kMaxChunkBytes,
                                                   " bytes"));
  }
  return absl::OkStatus();
}

size_t LargestGroupBytes(const RolloutServerOptions& options) {
  const int samples = options.evaluation_samples;
  return std::max(MaxGroupBytes(options.limits),
                  samples == 0 ? 0 : MaxGroupBytes(EvaluationLimits(options.limits, samples)));
}

int64_t WholeSeconds(absl::Duration duration) { return absl::ToInt64Seconds(duration); }

}  // namespace

RolloutServer::Impl::Impl(const RolloutServerOptions& options, std::unique_ptr<SubmissionLog> log)
    : options_(options),
      max_group_bytes_(LargestGroupBytes(options)),
      leases_per_reply_(static_cast<int>(kMaxChunkBytes / MaxLeaseBytes(options.limits))),
      ledger_(options.ledger),
      board_({.lease_timeout = options.ledger.lease_timeout, .max_attempts = options.ledger.max_attempts}),
      ledger_metrics_(options.metrics),
      actors_(options.lost_actor_grace),
      ingest_({.limits = options.limits,
               .log = std::move(log),
               .metrics = options.metrics,
               .acknowledge =
                   [this](const Submission& s, const absl::Status& status) {
                     mu_.AssertHeld();  // as Ingest promises
                     Acknowledge(s, status);
                   },
               .evaluation_samples = options.evaluation_samples},
              &mu_, &ledger_, &board_) {}

RolloutServer::Impl::~Impl() { Stop(/*run_finished=*/false); }

absl::Status RolloutServer::Impl::Restore(RolloutRestore restore) {
  {
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(ledger_.Restore(restore.snapshot, std::move(restore.prompts), restore.incarnation));
  }
  return ingest_.Replay(restore.snapshot.log_segment);
}

absl::Status RolloutServer::Impl::Serve() {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ServerCredentials> credentials,
                   MakeServerCredentials(options_.security, [this](absl::string_view why) { RefuseRole(why); }));
  grpc::ServerBuilder builder;
  BoundServer(builder);
  builder.AddListeningPort(options_.listen, credentials, &port_);
  builder.RegisterService(static_cast<wire::RolloutService::CallbackService*>(this));
  for (grpc::Service* service : options_.more_services) builder.RegisterService(service);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", options_.listen, ": is it taken?"));
  }
  {
    absl::MutexLock lock(&mu_);
    ledger_metrics_.Start(ledger_);
  }
  ASSIGN_OR_RETURN(ingest_thread_, StartThread("taking in groups", [this] { RunIngest(); }));
  return absl::OkStatus();
}

void RolloutServer::Impl::Stop(bool run_finished) {
  absl::MutexLock finish_lock(&finish_mu_);
  {
    absl::MutexLock lock(&mu_);
    if (stopped_) return;
    finishing_ = true;
    for (const auto& [id, stream] : streams_) {
      if (run_finished) {
        wire::LearnerMessage message;
        message.mutable_run_finished();
        stream->Send(std::move(message));
      }
      stream->Close(run_finished ? absl::OkStatus() : absl::UnavailableError("the learner has stopped"));
    }
    changed_.SignalAll();
    const absl::Duration deadline = Now() + kFinishTimeout;
    while (!streams_.empty() && Now() < deadline) changed_.WaitFor(&mu_, deadline - Now());
  }
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());  // cancels whatever is left
  {
    absl::MutexLock lock(&mu_);
    while (!streams_.empty()) {  // each one's OnDone; gRPC promises it after Shutdown
      if (changed_.WaitFor(&mu_, kWaitLogInterval)) {
        TACTUS_LOG(WARNING) << "still waiting for gRPC to be done with " << streams_.size() << " streams of actors";
      }
    }
    stopped_ = true;
    changed_.SignalAll();
  }
  if (ingest_thread_.joinable()) ingest_thread_.join();
}

absl::Status RolloutServer::Impl::AddPrompts(std::vector<Prompt> prompts) {
  absl::MutexLock lock(&mu_);
  absl::Status status;
  for (Prompt& prompt : prompts) {
    status = ValidatePrompt(prompt, options_.limits);
    if (status.ok()) status = ledger_.Add(std::move(prompt));
    if (!status.ok()) break;
  }
  PumpLeases(Now());
  changed_.SignalAll();
  return status;
}

std::string RolloutServer::Impl::WaitSentence(int count, absl::Duration since) const {
  const LedgerView view = ledger_.View();
  const absl::Duration now = Now();
  std::string text = absl::StrCat("waiting ", WholeSeconds(now - since), " s for ", std::max(0, count - view.ready),
                                  " of ", count, " groups, ");
  if (view.oldest_lease.has_value()) {
    absl::StrAppend(&text, "oldest lease to ", view.oldest_lease->actor_id, " since ",
                    WholeSeconds(now - view.oldest_lease->leased_at), " s");
  } else {
    absl::StrAppend(&text, view.waiting, " prompts are waiting for an actor");
  }
  absl::StrAppend(&text, "; ", actors_.attached(), " actors attached");
  return text;
}

absl::StatusOr<std::vector<TrajectoryGroup>> RolloutServer::Impl::TakeGroups(int wanted, int least,
                                                                             absl::Duration timeout) {
  const absl::Duration start = Now();
  absl::MutexLock lock(&mu_);
  if (least < 1 || least > wanted || wanted > ledger_.slots()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot take ", least, " to ", wanted, " groups: expected 1 to ", ledger_.slots()));
  }
  if (!awaited_since_.has_value()) awaited_since_ = start;
  absl::Duration next_log = start + kWaitLogInterval;
  while (!finishing_) {
    std::vector<TrajectoryGroup> groups = ledger_.Take(wanted, least);
    PumpLeases(Now());  // prompts of stale groups wait again
    if (!groups.empty()) {
      awaited_since_.reset();
      return groups;
    }
    const absl::Duration now = Now();
    if (now >= start + timeout) return absl::DeadlineExceededError(WaitSentence(wanted, *awaited_since_));
    if (now >= next_log) {
      TACTUS_LOG(INFO) << WaitSentence(wanted, *awaited_since_);
      next_log = now + kWaitLogInterval;
    }
    changed_.WaitFor(&mu_, std::min(start + timeout, next_log) - now);
  }
  return absl::CancelledError("the rollout server was finished while groups were awaited");
}

absl::Status RolloutServer::Impl::Release(int count) {
  absl::MutexLock lock(&mu_);
  return ledger_.Release(count);
}

wire::WeightPath RolloutServer::Impl::PathOf(const std::string& actor_id, const RelayTree& tree) const {
  wire::WeightPath path;
  path.set_manifest_sha256(absl::HexStringToBytes(manifest_digest_));
  for (std::string& parent : tree.Parents(actor_id)) path.add_parents(std::move(parent));
  return path;
}

RelayTree RolloutServer::Impl::Relays() const {
  return {options_.relay_fan_out > 0 ? actors_.Relays() : std::vector<RelayPeer>(), options_.relay_fan_out};
}

absl::Status RolloutServer::Impl::SetVersion(PolicyVersion version, const std::string& manifest_digest) {
  absl::MutexLock lock(&mu_);
  const bool begun_with = version == ledger_.published() && manifest_digest_.empty() && !manifest_digest.empty();
  if (!begun_with) RETURN_IF_ERROR(ledger_.SetVersion(version));
  manifest_digest_ = manifest_digest;
  const RelayTree tree = Relays();
  for (const auto& [id, stream] : streams_) {
    if (stream->actor_id().empty()) continue;
    wire::LearnerMessage message;
    *message.mutable_new_version()->mutable_version() = ToWire(version);
    *message.mutable_new_version()->mutable_path() = PathOf(stream->actor_id(), tree);
    stream->Send(std::move(message));
  }
  PumpLeases(Now());  // requests for older weights are answered with the news
  return absl::OkStatus();
}

absl::Status RolloutServer::Impl::BeginEvaluation(EvalRound round) {
  for (const HeldOutSet& set : round.sets) {
    for (const Prompt& prompt : *set.prompts) RETURN_IF_ERROR(ValidatePrompt(prompt, options_.limits));
    if (set.samples > options_.evaluation_samples) {
      return absl::InvalidArgumentError(absl::StrCat("a held-out set with ", set.samples, " samples; expected at most ",
                                                     options_.evaluation_samples));
    }
  }
  absl::MutexLock lock(&mu_);
  if (evaluations_ended_) return absl::OkStatus();
  board_.Begin(std::move(round), Now());
  PumpLeases(Now());
  return absl::OkStatus();
}

bool RolloutServer::Impl::AwaitEvaluation(absl::Duration timeout) {
  const absl::Duration end = Now() + timeout;
  absl::MutexLock lock(&mu_);
  while (board_.open() && !finishing_ && Now() < end) changed_.WaitFor(&mu_, end - Now());
  return !board_.open();
}

void RolloutServer::Impl::GiveUpEvaluation(const std::string& why, bool for_good) {
  absl::MutexLock lock(&mu_);
  evaluations_ended_ = evaluations_ended_ || for_good;
  board_.GiveUp(why, Now());
  changed_.SignalAll();
}

RolloutServer::RolloutServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RolloutServer::~RolloutServer() = default;

absl::StatusOr<std::unique_ptr<RolloutServer>> RolloutServer::Start(const RolloutServerOptions& options,
                                                                    std::optional<RolloutRestore> restore) {
  RETURN_IF_ERROR(CheckOptions(options));
  std::unique_ptr<SubmissionLog> log;
  if (!options.log_folder.empty()) {
    ASSIGN_OR_RETURN(std::unique_ptr<SegmentStore> segments, OpenSegmentFolder(options.log_folder));
    const uint64_t first_segment = restore.has_value() ? restore->snapshot.log_segment : 1;
    ASSIGN_OR_RETURN(log, SubmissionLog::Open(std::move(segments), SubmissionLog::kSegmentBytes, first_segment));
    if (!restore.has_value() && log->HasEarlierRecords()) {
      return absl::FailedPreconditionError(absl::StrCat(
          options.log_folder, " holds groups of an earlier run: resume that run or choose another folder"));
    }
  }
  auto impl = std::make_unique<Impl>(options, std::move(log));
  if (restore.has_value()) RETURN_IF_ERROR(impl->Restore(*std::move(restore)));
  RETURN_IF_ERROR(impl->Serve());
  return absl::WrapUnique(new RolloutServer(std::move(impl)));
}

int RolloutServer::port() const { return impl_->port(); }
PolicyVersion RolloutServer::version() const {
  return impl_->With([](const RolloutLedger& ledger) { return ledger.version(); });
}
int RolloutServer::FreeSlots() const { return View().free_slots; }
absl::Status RolloutServer::AddPrompts(std::vector<Prompt> prompts) { return impl_->AddPrompts(std::move(prompts)); }
absl::StatusOr<std::vector<TrajectoryGroup>> RolloutServer::TakeGroups(int wanted, int least, absl::Duration timeout) {
  return impl_->TakeGroups(wanted, least, timeout);
}
absl::Status RolloutServer::PutBack(std::vector<TrajectoryGroup> groups) { return impl_->PutBack(std::move(groups)); }
std::vector<PromptOutcome> RolloutServer::TakeLeftOut() { return impl_->TakeLeftOut(); }
absl::Status RolloutServer::Release(int count) { return impl_->Release(count); }
absl::Status RolloutServer::SetTrained(PolicyVersion version) { return impl_->SetTrained(version); }
absl::Status RolloutServer::SetVersion(PolicyVersion version, const std::string& manifest_digest) {
  return impl_->SetVersion(version, manifest_digest);
}
absl::Status RolloutServer::BeginEvaluation(EvalRound round) { return impl_->BeginEvaluation(std::move(round)); }
bool RolloutServer::AwaitEvaluation(absl::Duration timeout) { return impl_->AwaitEvaluation(timeout); }
void RolloutServer::GiveUpEvaluation(const std::string& why) { impl_->GiveUpEvaluation(why, /*for_good=*/false); }
void RolloutServer::EndEvaluations() { impl_->GiveUpEvaluation("the learner stops", /*for_good=*/true); }
std::optional<EvalResult> RolloutServer::TakeEvaluation() { return impl_->TakeEvaluation(); }
absl::StatusOr<LedgerSnapshot> RolloutServer::Snapshot() { return impl_->Snapshot(); }
absl::Status RolloutServer::TruncateLog(uint64_t first_needed_segment) {
  return impl_->TruncateLog(first_needed_segment);
}
LedgerCounters RolloutServer::Counters() const {
  return impl_->With([](const RolloutLedger& ledger) { return ledger.counters(); });
}
LedgerView RolloutServer::View() const {
  return impl_->With([](const RolloutLedger& ledger) { return ledger.View(); });
}
int RolloutServer::AttachedActors() const { return impl_->AttachedActors(); }
int64_t RolloutServer::ProtocolViolations() const { return impl_->violations(); }
void RolloutServer::Finish() { impl_->Stop(/*run_finished=*/true); }

}  // namespace tactus
