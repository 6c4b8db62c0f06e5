// Random histories against a model that is as plain as possible: it knows for each lease whether it is out, answered or
// lost, and for each prompt whether it was trained. After every event the counters must add up, every prompt must be
// somewhere, and the limits must hold. Some histories cap the attempts.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <utility>

#include "learner/ledger/rollout_ledger.h"
#include "tests/data/group_builder.h"

namespace tactus {
namespace {

constexpr int kPrompts = 3;

class History {
 public:
  History(int staleness, uint64_t seed)
      : staleness_(staleness),
        ledger_({.prompts_per_step = kPrompts,
                 .completions_per_prompt = 2,
                 .max_staleness_steps = staleness,
                 .lease_timeout = absl::Seconds(20),
                 .max_attempts = static_cast<int>(seed % 4)}),
        random_(seed),
        max_attempts_(static_cast<int>(seed % 4)),
        portions_(seed % 3 != 0) {}

  void Step() {
    switch (random_() % 10) {
      case 0:
      case 1:
        AddPrompts();
        break;
      case 2:
      case 3:
        Lease();
        break;
      case 4:
      case 5:
      case 6:
        Submit();
        break;
      case 7:
        Train();
        break;
      case 8:
        random_() % 2 == 0 ? Lose() : Publish();
        break;
      default:
        now_ += absl::Seconds(static_cast<int>(random_() % 8));
        Renew();
        Forget(ledger_.Expire(now_));
    }
    CheckInvariants();
  }

  // Fair weather: every lease is answered, so training must go on.
  void Finish() {
    const int64_t trained = ledger_.counters().trained;
    for (int round = 0; round < 20; ++round) {
      Publish();
      AddPrompts();
      do {  // those on their last try come one by one
        absl::StatusOr<std::vector<PromptLease>> leases = ledger_.Lease("last", 100, ledger_.version(), now_);
        if (leases.ok()) {
          for (const PromptLease& lease : *leases) out_[lease.lease_id] = {lease, "last", ledger_.version(), now_};
        }
        while (!out_.empty()) SubmitNow(out_.begin()->first);
      } while (ledger_.View().waiting > 0);
      Train();
      CheckInvariants();
    }
    EXPECT_GE(ledger_.counters().trained, trained + 10 * kPrompts);
  }

  const LedgerCounters& counters() const { return ledger_.counters(); }
  int overtaken() const { return overtaken_; }
  int portions() const { return portions_taken_; }  // that did not end a step
  int put_off() const { return put_off_; }  // leases for weights within the bound, refused for what is open with them

 private:
  struct Out {
    PromptLease lease;
    std::string actor;
    PolicyVersion held;
    absl::Duration renewed;
  };

  int LeasesOf(const std::string& actor) const {
    return static_cast<int>(std::ranges::count_if(out_, [&](const auto& item) { return item.second.actor == actor; }));
  }

  void AddPrompts() {
    while (ledger_.View().free_slots > 0) ASSERT_TRUE(ledger_.Add(MakePrompt(next_prompt_++)).ok());
    ASSERT_EQ(ledger_.Add(MakePrompt(next_prompt_)).code(), absl::StatusCode::kResourceExhausted);
  }

  void Lease() {
    const std::string actor(1, static_cast<char>('a' + random_() % 3));
    PolicyVersion held = ledger_.published();
    held.step -= std::min<uint64_t>(held.step, random_() % 3);
    const auto lag = ledger_.published().step - held.step, behind = ledger_.version().step - held.step;
    const absl::StatusOr<std::vector<PromptLease>> leases = ledger_.Lease(actor, 1 + random_() % 3, held, now_);
    if (lag > static_cast<uint64_t>(std::max(0, staleness_ - 1)) || behind > static_cast<uint64_t>(staleness_)) {
      ASSERT_EQ(leases.status().code(), absl::StatusCode::kFailedPrecondition);
    } else if (absl::IsFailedPrecondition(leases.status())) {
      ASSERT_GT(behind, 0u) << "the newest weights are always good";
      ++put_off_;
    } else if (!leases.ok()) {
      ASSERT_EQ(leases.status().code(), absl::StatusCode::kResourceExhausted);
      ASSERT_TRUE(ledger_.View().waiting == 0 || HasLastTry(actor));
    } else {
      for (const PromptLease& lease : *leases) {
        ASSERT_EQ(seen_.count(lease.lease_id), 0u);
        ASSERT_EQ(trained_.count(lease.prompt.id), 0u);
        ASSERT_FALSE(LastTry(lease.prompt.id) && HasLastTry(actor)) << "two that may both end it";
        seen_.insert(lease.lease_id);
        out_[lease.lease_id] = {lease, actor, held, now_};
      }
    }
  }

  void SubmitNow(uint64_t lease_id) {
    const Out out = out_.at(lease_id);
    ASSERT_TRUE(ledger_.Submit(MakeGroup(out.lease, out.actor, out.held)).ok());
    out_.erase(lease_id);
    answered_[lease_id] = out;
    for (auto it = out_.begin(); it != out_.end();) {  // a straggler's prompt was with two
      if (it->second.lease.prompt.id != out.lease.prompt.id) {
        ++it;
        continue;
      }
      ++overtaken_;
      lost_.push_back(it->second);
      it = out_.erase(it);
    }
  }

  // An answer in time, a repeat, or one for a lost lease.
  void Submit() {
    const uint64_t kind = random_() % 8;
    if (kind < 6 && !out_.empty()) {
      SubmitNow(std::next(out_.begin(), static_cast<int64_t>(random_() % out_.size()))->first);
    } else if (kind == 6 && !answered_.empty()) {
      const Out& out = answered_.rbegin()->second;
      const int64_t accepted = ledger_.counters().accepted;
      ASSERT_TRUE(ledger_.Submit(MakeGroup(out.lease, out.actor, out.held)).ok());
      ASSERT_EQ(ledger_.counters().accepted, accepted);
    } else if (!lost_.empty()) {
      const Out& out = lost_[random_() % lost_.size()];
      ASSERT_EQ(ledger_.Submit(MakeGroup(out.lease, out.actor, out.held)).code(), absl::StatusCode::kNotFound);
    }
  }

  // All of a step at once, or a portion of it; or those that were taken go back.
  void Train() {
    if (portions_ && random_() % 8 == 0) {
      ASSERT_TRUE(ledger_.PutBack(std::exchange(step_, {})).ok());
      return;
    }
    const int wanted = kPrompts - static_cast<int>(step_.size());
    std::vector<TrajectoryGroup> portion = ledger_.Take(wanted, portions_ ? 1 : wanted);
    const uint64_t step = ledger_.version().step;
    for (TrajectoryGroup& group : portion) {
      ASSERT_EQ(answered_.count(group.lease_id), 1u);
      for (const Completion& completion : group.completions) {
        ASSERT_LE(step - completion.versions[0].version.step, static_cast<uint64_t>(staleness_));
      }
      step_.push_back(std::move(group));
    }
    ASSERT_EQ(ledger_.View().taken, static_cast<int>(step_.size()));
    if (step_.size() < kPrompts) {
      portions_taken_ += portion.empty() ? 0 : 1;
      return;
    }
    CheckInvariants();
    for (const TrajectoryGroup& group : std::exchange(step_, {})) {
      ASSERT_TRUE(trained_.insert(group.prompt_id).second) << "trained twice";
      while (dropped_.count(next_trained_) > 0) ++next_trained_;
      if (staleness_ == 0) {
        ASSERT_EQ(group.prompt_id, next_trained_++) << "not in admission order";
      }
    }
    ASSERT_TRUE(ledger_.SetTrained({0, step + 1}).ok());
    ASSERT_TRUE(ledger_.Release(kPrompts).ok());
    CheckInvariants();
    if (random_() % 2 == 0) Publish();
  }

  bool LastTry(uint64_t prompt) const {
    const auto failures = failures_.find(prompt);
    return failures != failures_.end() && failures->second >= max_attempts_ - 1 && max_attempts_ > 0;
  }
  bool HasLastTry(const std::string& actor) const {
    return std::ranges::any_of(
        out_, [&](const auto& item) { return item.second.actor == actor && LastTry(item.second.lease.prompt.id); });
  }

  // Actors can have the newest weights from now on, which may be some steps after they were trained.
  void Publish() {
    if (ledger_.published() == ledger_.version()) return;
    ASSERT_TRUE(ledger_.SetVersion(ledger_.version()).ok());
  }

  // Some of the actors work on some of their leases.
  void Renew() {
    for (auto& [id, out] : out_) {
      if (random_() % 2 == 0) continue;
      const uint64_t ids[] = {id};
      ASSERT_TRUE(ledger_.Renew(out.actor, ids, now_).empty());
      out.renewed = now_;
    }
  }

  void Lose() {
    const std::string actor(1, static_cast<char>('a' + random_() % 3));
    std::vector<uint64_t> keep;
    for (const auto& [id, out] : out_) {
      if (random_() % 2 == 0) keep.push_back(id);
    }
    Forget(ledger_.ReturnLeases(actor, keep));
    for (const auto& [id, out] : out_) {
      if (out.actor == actor) {
        ASSERT_NE(std::find(keep.begin(), keep.end(), id), keep.end());
      }
    }
  }

  void Forget(const std::vector<EndedLease>& leases) {
    for (const EndedLease& lease : leases) {
      const auto out = out_.find(lease.lease_id);
      ASSERT_NE(out, out_.end());
      ASSERT_EQ(lease.failures, ++failures_[lease.prompt_id]);
      const bool other = std::ranges::any_of(out_, [&](const auto& item) {
        return item.first != lease.lease_id && item.second.lease.prompt.id == lease.prompt_id;
      });
      ASSERT_EQ(lease.dropped, max_attempts_ > 0 && lease.failures >= max_attempts_ && !other);
      if (lease.dropped) dropped_.insert(lease.prompt_id);
      lost_.push_back(out->second);
      out_.erase(out);
    }
  }

  void CheckInvariants() {
    const LedgerView view = ledger_.View();
    const LedgerCounters& counters = ledger_.counters();
    ASSERT_TRUE(counters.Balanced());
    ASSERT_EQ(counters.queued, view.ready + view.taken);
    std::map<uint64_t, int> leased;  // by prompt
    for (const auto& [id, out] : out_) ++leased[out.lease.prompt.id];
    ASSERT_EQ(view.leased, static_cast<int>(leased.size()));
    for (const auto& [prompt, leases] : leased) ASSERT_LE(leases, 2);
    ASSERT_TRUE(view.waiting == 0 || ledger_.PromptsWait(now_));
    const int held = view.waiting + view.leased + view.ready + view.taken;
    ASSERT_EQ(held + view.free_slots, (staleness_ + 1) * kPrompts);
    ASSERT_EQ(counters.prompts_dropped, static_cast<int64_t>(dropped_.size()));
    ASSERT_EQ(static_cast<int64_t>(next_prompt_), held + counters.trained + counters.prompts_dropped)
        << "a prompt was lost";
    for (const auto& [id, out] : out_) ASSERT_GE(out.renewed + absl::Seconds(20 + 8), now_) << "a lease out of time";
    for (const auto& [id, out] : out_) ASSERT_EQ(ledger_.LeasesOf(out.actor), LeasesOf(out.actor));
    ASSERT_EQ(counters.dropped[0], 0) << "finished work was thrown away";
  }

  const int staleness_;
  RolloutLedger ledger_;
  std::mt19937_64 random_;
  absl::Duration now_;
  uint64_t next_prompt_ = 0;
  uint64_t next_trained_ = 0;
  std::set<uint64_t> trained_, seen_, dropped_;
  std::map<uint64_t, int> failures_;  // by prompt
  const int max_attempts_;            // 0: any number
  std::map<uint64_t, Out> out_, answered_;
  std::vector<Out> lost_;
  const bool portions_;
  std::vector<TrajectoryGroup> step_;  // what is taken of the next one
  int portions_taken_ = 0;
  int put_off_ = 0;
  int overtaken_ = 0;  // leases that another's answer ended
};

class LedgerProperty : public ::testing::TestWithParam<int> {};

TEST_P(LedgerProperty, HoldsInRandomHistories) {
  int64_t trained = 0, expired = 0, duplicates = 0, put_off = 0, dropped = 0, overtaken = 0, portions = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    History history(GetParam(), seed);
    for (int event = 0; event < 500; ++event) {
      history.Step();
      if (HasFatalFailure()) return;
    }
    trained += history.counters().trained;
    expired += history.counters().rejected[static_cast<size_t>(RejectReason::kExpired)];
    duplicates += history.counters().rejected[static_cast<size_t>(RejectReason::kDuplicate)];
    put_off += history.put_off();
    dropped += history.counters().prompts_dropped;
    overtaken += history.overtaken();
    portions += history.portions();
    history.Finish();
    if (HasFatalFailure()) return;
  }
  // The histories do reach what they are meant to test.
  EXPECT_GT(trained, 1000);
  EXPECT_GT(expired, 1000);
  EXPECT_GT(duplicates, 1000);
  EXPECT_GT(dropped, 50);
  EXPECT_GT(overtaken, 0);
  EXPECT_GT(portions, 500);
  if (GetParam() >= 2) {
    EXPECT_GT(put_off, 1000);
  }
}

INSTANTIATE_TEST_SUITE_P(Staleness, LedgerProperty, ::testing::Values(0, 1, 2, 3));

}  // namespace
}  // namespace tactus
