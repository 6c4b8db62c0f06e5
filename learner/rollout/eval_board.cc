#include "learner/rollout/eval_board.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/data/codec.h"

namespace tactus {
namespace {

constexpr int kLeaseCounterBits = 40;  // below the incarnation, as in the ledger's lease ids

// What is measured is the reward and the length: the rest of an answer is not kept until its round is over.
void KeepWhatCounts(TrajectoryGroup& group) {
  for (Completion& completion : group.completions) {
    completion.logprobs = {};
    completion.entropy = {};
    completion.credit = {};
  }
}

}  // namespace

void EvalBoard::Begin(EvalRound round, absl::Duration now) {
  GiveUp(absl::StrCat("version ", VersionName(round.version), " is measured instead"), now);
  for (size_t set = 0; set < round.sets.size(); ++set) {
    for (size_t row = 0; row < round.sets[set].prompts->size(); ++row) {
      waiting_.insert(waiting_.end(), places_.size());
      places_.push_back({.set = set, .row = row, .failures = 0, .answer = std::nullopt});
    }
  }
  begun_at_ = now;
  round_ = std::move(round);
}

void EvalBoard::GiveUp(const std::string& why, absl::Duration now) {
  if (open()) End(absl::StrCat(accepted_.size(), " of ", places_.size(), " prompts were answered; ", why), now);
}

void EvalBoard::End(std::string given_up, absl::Duration now) {
  EvalResult& result = results_.emplace_back();
  result = {.version = round_->version, .given_up = std::move(given_up), .sets = {}, .took = now - begun_at_};
  for (auto first = places_.begin(); first != places_.end();) {
    const HeldOutSet& set = SetOf(*first);
    const auto last = first + static_cast<std::ptrdiff_t>(set.prompts->size());
    if (std::all_of(first, last, [](const Place& place) { return place.answer.has_value(); })) {
      EvalAnswers& complete = result.sets.emplace_back(EvalAnswers{.set = set.name, .answers = {}});
      std::for_each(first, last, [&](Place& place) { complete.answers.push_back(*std::move(place.answer)); });
    }
    first = last;
  }
  round_.reset();
  places_.clear();
  waiting_.clear();
  out_.clear();
  accepted_.clear();
}

std::vector<PromptLease> EvalBoard::Lease(const std::string& actor_id, int max_leases, PolicyVersion held,
                                          absl::Duration now) {
  std::vector<PromptLease> granted;
  if (!Measures(held)) return granted;
  while (!waiting_.empty() && static_cast<int>(granted.size()) < max_leases) {
    const size_t place = *waiting_.begin();
    waiting_.erase(waiting_.begin());
    const HeldOutSet& set = SetOf(places_[place]);
    const Prompt& prompt = PromptOf(places_[place]);
    const uint64_t id = kEvaluationLease | uint64_t{held.incarnation} << kLeaseCounterBits | next_lease_++;
    Out out;
    static_cast<LeaseInfo&>(out) = {id, prompt.id, actor_id, now};
    out.deadline = now + options_.lease_timeout;
    out.place = place;
    out_.emplace(id, std::move(out));
    granted.push_back({.lease_id = id,
                       .prompt = prompt,
                       .completions_wanted = set.samples,
                       .seed = round_->seed,
                       .timeout_s = absl::ToDoubleSeconds(options_.lease_timeout),
                       .version = held,
                       .evaluation = set.sampling});
  }
  return granted;
}

std::vector<uint64_t> EvalBoard::Renew(const std::string& actor_id, std::span<const uint64_t> lease_ids,
                                       absl::Duration now) {
  std::vector<uint64_t> ended;
  for (const uint64_t id : lease_ids) {
    const auto out = out_.find(id);
    if (out != out_.end() && out->second.actor_id == actor_id) {
      out->second.deadline = std::max(out->second.deadline, now + options_.lease_timeout);
    } else if (accepted_.count(id) == 0) {
      ended.push_back(id);
    }
  }
  return ended;
}

LeaseInfo EvalBoard::Fail(uint64_t lease_id) {
  Out out = std::move(out_.extract(lease_id).mapped());
  ++places_[out.place].failures;
  waiting_.insert(out.place);
  return out;
}

void EvalBoard::GiveUpHopeless(absl::Duration now) {
  if (options_.max_attempts == 0) return;
  for (const size_t place : waiting_) {
    if (places_[place].failures < options_.max_attempts) continue;
    return GiveUp(absl::StrCat("held-out prompt ", PromptOf(places_[place]).id, " had ", places_[place].failures,
                               " leases without an answer"),
                  now);
  }
}

std::vector<LeaseInfo> EvalBoard::Expire(absl::Duration now) {
  std::vector<uint64_t> due;
  for (const auto& [id, out] : out_) {
    if (out.deadline <= now) due.push_back(id);
  }
  std::vector<LeaseInfo> expired;
  for (const uint64_t id : due) expired.push_back(Fail(id));
  if (!expired.empty()) GiveUpHopeless(now);
  return expired;
}

std::vector<LeaseInfo> EvalBoard::ReturnLeases(const std::string& actor_id, std::span<const uint64_t> keep,
                                               absl::Duration now) {
  std::vector<uint64_t> lost;
  for (const auto& [id, out] : out_) {
    if (out.actor_id == actor_id && std::ranges::find(keep, id) == keep.end()) lost.push_back(id);
  }
  std::vector<LeaseInfo> returned;
  for (const uint64_t id : lost) returned.push_back(Fail(id));
  if (!returned.empty()) GiveUpHopeless(now);
  return returned;
}

int EvalBoard::LeasesOf(const std::string& actor_id) const {
  return static_cast<int>(
      std::ranges::count_if(out_, [&](const auto& item) { return item.second.actor_id == actor_id; }));
}

int EvalBoard::AnswersAwaitedOf(const std::string& actor_id) const {
  int answers = 0;
  for (const auto& [id, out] : out_) answers += out.actor_id == actor_id ? SetOf(places_[out.place]).samples : 0;
  return answers;
}

absl::Status EvalBoard::Check(const TrajectoryGroup& group, const Out& out) const {
  const auto malformed = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("the group for evaluation lease ", group.lease_id, " ", what));
  };
  const Prompt& prompt = PromptOf(places_[out.place]);
  const int samples = SetOf(places_[out.place]).samples;
  if (group.actor_id != out.actor_id) return malformed("comes from another actor than the lease's");
  if (group.prompt_id != prompt.id || group.prompt_token_ids != prompt.token_ids) {
    return malformed("answers another prompt than the leased one");
  }
  if (group.completions.size() != static_cast<size_t>(samples)) {
    return malformed(absl::StrCat("has ", group.completions.size(), " completions; expected ", samples));
  }
  for (const Completion& completion : group.completions) {
    const bool whole = completion.versions.size() == 1 && completion.versions[0].version == round_->version;
    if (!whole) return malformed(absl::StrCat("is not wholly of version ", VersionName(round_->version)));
  }
  return absl::OkStatus();
}

absl::Status EvalBoard::Submit(TrajectoryGroup group, absl::Duration now) {
  const auto out = out_.find(group.lease_id);
  if (out == out_.end()) {
    if (accepted_.count(group.lease_id) > 0) return absl::OkStatus();
    return absl::NotFoundError(
        absl::StrCat("evaluation lease ", group.lease_id, " of prompt ", group.prompt_id, " has ended"));
  }
  if (absl::Status status = Check(group, out->second); !status.ok()) return status;
  Place& place = places_[out->second.place];
  accepted_.insert(group.lease_id);
  KeepWhatCounts(group);
  place.answer = std::move(group);
  out_.erase(out);
  if (accepted_.size() == places_.size()) End("", now);
  return absl::OkStatus();
}

std::optional<EvalResult> EvalBoard::TakeResult() {
  if (results_.empty()) return std::nullopt;
  EvalResult result = std::move(results_.front());
  results_.pop_front();
  return result;
}

}  // namespace tactus
