// A group's way from bytes into the ledger, with a real log in a temporary folder.
#include "learner/rollout/ingest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <map>
#include <thread>

#include "tests/data/group_builder.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Code = absl::StatusCode;

struct IngestTest : ::testing::Test {
  void SetUp() override {
    std::filesystem::remove_all(folder);
    absl::StatusOr<std::unique_ptr<SubmissionLog>> log = SubmissionLog::Open(*OpenSegmentFolder(folder));
    ASSERT_TRUE(log.ok()) << log.status();
    ingest = MakeIngest(*std::move(log));
    absl::MutexLock lock(&mu);
    for (uint64_t id = 0; id < kPrompts; ++id) ASSERT_TRUE(ledger.Add(MakePrompt(id)).ok());
    leases = *ledger.Lease("a", kPrompts, {}, absl::ZeroDuration());
    ASSERT_EQ(leases.size(), kPrompts);
  }
  void TearDown() override {
    EXPECT_TRUE(Counters().Balanced());
    std::filesystem::remove_all(folder);
    std::filesystem::remove_all(folder + "_away");
  }

  std::unique_ptr<Ingest> MakeIngest(std::unique_ptr<SubmissionLog> log) {
    return std::make_unique<Ingest>(
        Ingest::Options{.limits = kTestLimits,
                        .log = std::move(log),
                        .metrics = &metrics,
                        .acknowledge =
                            [this](const Submission& submission, const absl::Status& status) {
                              mu.AssertHeld();
                              logged_when_acknowledged = LoggedBytes();
                              sequences.push_back(submission.sequence);
                              codes.push_back(status.code());
                              messages.emplace_back(status.message());
                            },
                        .evaluation_samples = kSamples},
        &mu, &ledger, &board);
  }
  // A new log and ledger, as after the process died: what the log gives back.
  std::vector<uint64_t> PromptsInLog() {
    std::vector<uint64_t> ids;
    const std::unique_ptr<SubmissionLog> log = *SubmissionLog::Open(*OpenSegmentFolder(folder));
    EXPECT_TRUE(log->Replay(0, MaxGroupBytes(kTestLimits),
                            [&](absl::string_view bytes) { ids.push_back(DecodeGroup(bytes, kTestLimits)->prompt_id); })
                    .ok());
    return ids;
  }
  uintmax_t LoggedBytes() const {
    uintmax_t bytes = 0;
    if (!std::filesystem::exists(folder)) return 0;
    for (const auto& file : std::filesystem::directory_iterator(folder)) bytes += file.file_size();
    return bytes;
  }
  LedgerCounters Counters() {
    absl::MutexLock lock(&mu);
    return ledger.counters();
  }
  TrajectoryGroup Group(size_t prompt) const { return MakeGroup(leases[prompt], "a", {}); }
  Submission Sent(const TrajectoryGroup& group) { return {"a", 1, next_sequence++, {EncodeGroup(group)}, {}}; }

  // Both held-out prompts there are, leased to "a".
  std::vector<PromptLease> LeaseHeldOut() {
    absl::MutexLock lock(&mu);
    board.Begin({.version = {0, 3},
                 .sets = {{.name = "",
                           .prompts = std::make_shared<std::vector<Prompt>>(std::vector{MakePrompt(0), MakePrompt(4)}),
                           .samples = kSamples}},
                 .seed = 1},
                absl::ZeroDuration());
    return board.Lease("a", 2, {0, 3}, absl::ZeroDuration());
  }

  static constexpr size_t kPrompts = 8;
  static constexpr int kSamples = 5;  // more than to a prompt of the training
  const std::string folder = ::testing::TempDir() + "/ingest_test";
  MetricSet metrics{{.role = ProcessRole::kLearner, .task = "t", .run_id = "r"}};
  absl::Mutex mu;
  RolloutLedger ledger{{.prompts_per_step = kPrompts, .completions_per_prompt = kTestLimits.completions_per_prompt}};
  EvalBoard board{EvalBoard::Options{}};
  std::unique_ptr<Ingest> ingest;
  std::vector<PromptLease> leases;
  uint64_t next_sequence = 1;
  std::vector<uint64_t> sequences;  // as acknowledged
  std::vector<Code> codes;
  std::vector<std::string> messages;
  uintmax_t logged_when_acknowledged = 0;
};

TEST_F(IngestTest, AGroupIsOnDiskBeforeItIsAcknowledged) {
  const Submission sent = Sent(Group(3));
  ingest->Process({sent});
  EXPECT_THAT(codes, ElementsAre(Code::kOk));
  EXPECT_GE(logged_when_acknowledged, sent.pieces[0].size());
  EXPECT_EQ(Counters().accepted, 1);
  EXPECT_THAT(PromptsInLog(), ElementsAre(3));
}

TEST_F(IngestTest, AGroupCarriesWhenItCame) {
  Submission sent = Sent(Group(3));
  sent.arrived = absl::Milliseconds(12'500);
  ingest->Process({sent});
  EXPECT_EQ(ingest->Snapshot()->ready.at(0).group.arrived_s, 12.5);
}

TEST_F(IngestTest, EachOfABatchIsJudgedByItselfAndAnsweredInOrder) {
  TrajectoryGroup wrong_prompt = Group(1);
  wrong_prompt.prompt_token_ids[0] += 1;
  TrajectoryGroup expired = Group(2);
  expired.lease_id = 12345;
  Submission other_stream = Sent(Group(4));
  other_stream.actor_id = "b";
  const TrajectoryGroup good = Group(0);
  ingest->Process({Sent(good),
                   {"a", 1, 77, {"garbage"}, {}},
                   Sent(wrong_prompt),
                   Sent(expired),
                   other_stream,
                   Sent(good),
                   Sent(Group(5))});
  EXPECT_THAT(codes, ElementsAre(Code::kOk, Code::kInvalidArgument, Code::kInvalidArgument, Code::kNotFound,
                                 Code::kInvalidArgument, Code::kOk, Code::kOk));
  EXPECT_THAT(sequences, ElementsAre(2, 77, 3, 4, 1, 5, 6));
  EXPECT_THAT(messages[2], HasSubstr("another prompt"));
  EXPECT_THAT(messages[4], HasSubstr("is not b, whose stream it came on"));
  const LedgerCounters counters = Counters();
  EXPECT_EQ(counters.accepted, 2);
  EXPECT_EQ(counters[RejectReason::kMalformed], 3);
  EXPECT_EQ(counters[RejectReason::kExpired], 1);
  EXPECT_EQ(counters[RejectReason::kDuplicate], 1) << "twice in one batch";
  EXPECT_THAT(PromptsInLog(), ElementsAre(0, 0, 5)) << "neither of the equal ones was known when they were logged";
}

TEST_F(IngestTest, AnswersToHeldOutPromptsGoToTheirBoardAndNowhereElse) {
  const std::vector<PromptLease> held_out = LeaseHeldOut();
  const LedgerCounters before = Counters();
  const TrajectoryGroup first = MakeGroup(held_out[0], "a", {0, 3});
  TrajectoryGroup mixed = MakeGroup(held_out[1], "a", {0, 3});
  mixed.completions[4].versions = {{0, {0, 2}}, {1, {0, 3}}};
  TrajectoryGroup few = MakeGroup(held_out[1], "a", {0, 3});
  few.completions.resize(2);  // as to a prompt of the training
  TrajectoryGroup weighted = MakeGroup(held_out[1], "a", {0, 3});
  weighted.completions[0].credit[1] = 1.5F;
  TrajectoryGroup late = first;
  late.lease_id += 100;
  TrajectoryGroup nan = MakeGroup(held_out[1], "a", {0, 3});
  nan.completions[3].logprobs[2] = std::numeric_limits<float>::quiet_NaN();
  Submission other_stream = Sent(first);
  other_stream.actor_id = "b";
  ingest->Process({Sent(mixed), Sent(few), Sent(weighted), Sent(late), Sent(nan), other_stream, Sent(first)});
  EXPECT_THAT(codes, ElementsAre(Code::kInvalidArgument, Code::kInvalidArgument, Code::kInvalidArgument,
                                 Code::kNotFound, Code::kInvalidArgument, Code::kInvalidArgument, Code::kOk));
  EXPECT_THAT(messages[0], HasSubstr("not wholly of version 0.3"));
  EXPECT_THAT(messages[1], HasSubstr("has 2 completions; expected 5"));
  EXPECT_THAT(messages[2], HasSubstr("credit[1]"));
  EXPECT_EQ(Counters(), before) << "nothing of it is in the ledger's books";
  EXPECT_EQ(LoggedBytes(), 0u);
  EXPECT_THAT(metrics.Text(), HasSubstr("tactus_eval_answers_total{outcome=\"refused\"} 5"));
  ingest->Process({Sent(MakeGroup(held_out[1], "a", {0, 3})), Sent(Group(2))});
  EXPECT_EQ(Counters().accepted, 1) << "and the training goes on beside it";
  absl::MutexLock lock(&mu);
  const std::optional<EvalResult> result = board.TakeResult();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->sets.at(0).answers.size(), 2u);
}

// The lease id alone says what a group is for: neither way can one be smuggled in as the other.
TEST_F(IngestTest, ALeaseIdOfTheOtherKindIsNoWayIn) {
  const PromptLease held_out = LeaseHeldOut()[0];
  TrajectoryGroup as_training = MakeGroup(held_out, "a", {0, 3});
  as_training.lease_id = leases[0].lease_id;
  TrajectoryGroup as_held_out = Group(0);
  as_held_out.lease_id = held_out.lease_id;
  std::string twice = EncodeGroup(Group(1));  // the lease id of a held-out prompt, and then again its own
  TrajectoryGroup name_only;
  name_only.lease_id = held_out.lease_id;
  twice.insert(0, EncodeGroup(name_only));
  ingest->Process({Sent(as_training), Sent(as_held_out), {"a", 1, 78, {twice}, {}}});
  EXPECT_THAT(codes, ElementsAre(Code::kInvalidArgument, Code::kInvalidArgument, Code::kInvalidArgument));
  EXPECT_THAT(messages[2], HasSubstr("twice"));
  absl::MutexLock lock(&mu);
  EXPECT_EQ(board.LeasesOf("a"), 2);
}

TEST_F(IngestTest, WhatTheLedgerWouldRefuseIsNotLogged) {
  ingest->Process({Sent(Group(0))});
  const uintmax_t logged = LoggedBytes();
  TrajectoryGroup expired = Group(1);
  expired.lease_id = 12345;
  ingest->Process({Sent(Group(0)), Sent(expired), {"a", 1, 77, {"garbage"}, {}}});
  EXPECT_THAT(codes, ElementsAre(Code::kOk, Code::kOk, Code::kNotFound, Code::kInvalidArgument));
  EXPECT_EQ(LoggedBytes(), logged);
}

TEST_F(IngestTest, WithoutADiskOnlyWhatNeedsItIsPutOff) {
  ingest->Process({Sent(Group(0))});
  std::filesystem::rename(folder, folder + "_away");
  EXPECT_FALSE(ingest->Snapshot().ok()) << "no new segment";
  codes.clear();
  ingest->Process({Sent(Group(1)), Sent(Group(0)), {"a", 1, 77, {"garbage"}, {}}});
  EXPECT_THAT(codes, ElementsAre(Code::kUnavailable, Code::kOk, Code::kInvalidArgument));
  EXPECT_EQ(Counters().accepted, 1);
  EXPECT_EQ(Counters().received, 3) << "what is put off has not been received";
  std::filesystem::rename(folder + "_away", folder);
  ingest->Process({Sent(Group(1))});
  EXPECT_EQ(codes.back(), Code::kOk);
  EXPECT_THAT(PromptsInLog(), ElementsAre(0, 1));
}

TEST_F(IngestTest, NonfiniteValuesAreCountedByKind) {
  TrajectoryGroup reward = Group(0), logprob = Group(1), neither = Group(2);
  reward.completions[0].reward.total = std::numeric_limits<double>::quiet_NaN();
  logprob.completions[1].logprobs[0] = -std::numeric_limits<float>::infinity();
  neither.completions[0].logprobs[0] = 2;
  ingest->Process({Sent(reward), Sent(logprob), Sent(neither)});
  EXPECT_THAT(codes, ElementsAre(Code::kInvalidArgument, Code::kInvalidArgument, Code::kInvalidArgument));
  absl::MutexLock lock(&mu);
  EXPECT_EQ(ingest->nonfinite_groups(), 2);
  EXPECT_THAT(metrics.Text(), HasSubstr("tactus_nonfinite_values_total{where=\"reward\"} 1\n"));
  EXPECT_THAT(metrics.Text(), HasSubstr("tactus_nonfinite_values_total{where=\"logprob\"} 1\n"));
}

TEST_F(IngestTest, WithoutALogGroupsAreAcceptedAllTheSame) {
  ingest = MakeIngest(nullptr);
  ingest->Process({Sent(Group(0))});
  EXPECT_THAT(codes, ElementsAre(Code::kOk));
  EXPECT_EQ(LoggedBytes(), 0u);
  EXPECT_EQ(ingest->Snapshot()->ready.size(), 1u);
  EXPECT_TRUE(ingest->Replay(0).ok());
  EXPECT_TRUE(ingest->Truncate(1).ok());
}

// Whenever the process dies, the last snapshot and the segments from its own on hold each acknowledged group.
TEST_F(IngestTest, ASnapshotMissesNoGroupThatIsInAnEarlierSegment) {
  std::thread sender([this] {
    for (size_t i = 0; i < kPrompts; ++i) ingest->Process({Sent(Group(i))});
  });
  std::vector<LedgerSnapshot> snapshots;
  for (int i = 0; i < 10'000 && (i == 0 || snapshots.back().ready.size() < kPrompts); ++i) {
    snapshots.push_back(*ingest->Snapshot());
  }
  sender.join();
  ingest.reset();
  for (const LedgerSnapshot& snapshot : snapshots) {
    RolloutLedger restored({.prompts_per_step = kPrompts, .completions_per_prompt = 2});
    std::vector<Prompt> prompts;
    for (const uint64_t id : snapshot.open_prompt_ids) prompts.push_back(MakePrompt(id));
    ASSERT_TRUE(restored.Restore(snapshot, std::move(prompts), 1).ok());
    absl::Mutex restored_mu;
    Ingest again({.limits = kTestLimits, .log = *SubmissionLog::Open(*OpenSegmentFolder(folder)), .acknowledge = {}},
                 &restored_mu, &restored, &board);
    ASSERT_TRUE(again.Replay(snapshot.log_segment).ok());
    ASSERT_EQ(restored.View().ready, static_cast<int>(kPrompts)) << "from segment " << snapshot.log_segment;
    ASSERT_EQ(restored.counters()[RejectReason::kDuplicate], 0);
  }
}

}  // namespace
}  // namespace tactus
