#include "learner/checkpoint/state_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/checkpoint.pb.h"
#include "tests/learner/checkpoint/sample_facts.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

TEST(StateCodecTest, RoundTripKeepsEveryField) {
  const TrainFacts facts = SampleFacts(12);
  const auto back = DecodeTrainFacts(EncodeTrainFacts(facts), SampleLimits());
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->version, facts.version);
  EXPECT_EQ(back->optimizer_steps, facts.optimizer_steps);
  EXPECT_EQ(back->skipped_steps, facts.skipped_steps);
  EXPECT_EQ(back->schedule_step, facts.schedule_step);
  EXPECT_EQ(back->learner_step, facts.learner_step);
  EXPECT_EQ(back->planned_steps, facts.planned_steps);
  EXPECT_EQ(back->data_cursor, facts.data_cursor);
  EXPECT_EQ(back->seed, facts.seed);
  EXPECT_EQ(back->config_fingerprint, facts.config_fingerprint);
  EXPECT_EQ(back->data_fingerprint, facts.data_fingerprint);
  EXPECT_EQ(back->tactus_version, facts.tactus_version);
  EXPECT_EQ(back->prompt_difficulty, facts.prompt_difficulty);
  EXPECT_EQ(back->head_classes, facts.head_classes);
  EXPECT_EQ(back->ledger.version, facts.ledger.version);
  EXPECT_EQ(back->ledger.next_prompt_id, facts.ledger.next_prompt_id);
  EXPECT_EQ(back->ledger.open_prompt_ids, facts.ledger.open_prompt_ids);
  EXPECT_EQ(back->ledger.counters, facts.ledger.counters);
  EXPECT_EQ(back->ledger.log_segment, facts.ledger.log_segment);
  ASSERT_EQ(back->ledger.ready.size(), 1u);
  EXPECT_EQ(back->ledger.ready[0].version, facts.ledger.ready[0].version);
  EXPECT_EQ(back->ledger.ready[0].group.completions[0].rhythm, facts.ledger.ready[0].group.completions[0].rhythm);
  EXPECT_EQ(EncodeGroup(back->ledger.ready[0].group), EncodeGroup(facts.ledger.ready[0].group));
}

TEST(StateCodecTest, RefusesWhatDoesNotFit) {
  const auto error = [](const std::string& bytes) {
    const auto facts = DecodeTrainFacts(bytes, SampleLimits());
    EXPECT_EQ(facts.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(facts.status().message());
  };
  EXPECT_THAT(error("junk"), HasSubstr("not a CheckpointState"));
  EXPECT_THAT(error(""), HasSubstr("version or ledger is missing"));
  wire::CheckpointState good;
  ASSERT_TRUE(good.ParseFromString(EncodeTrainFacts(SampleFacts(3))));
  wire::CheckpointState bad = good;
  bad.set_optimizer_steps(-1);
  EXPECT_THAT(error(bad.SerializeAsString()), HasSubstr("optimizer_steps is -1"));
  bad = good;
  bad.mutable_ledger()->mutable_counters()->add_dropped(1);
  EXPECT_THAT(error(bad.SerializeAsString()), HasSubstr("counts 3 and 4 reasons"));
  bad.mutable_ledger()->mutable_counters()->mutable_dropped()->Truncate(2);  // as before groups were replaced
  EXPECT_TRUE(DecodeTrainFacts(bad.SerializeAsString(), SampleLimits()).ok());
  bad = good;
  bad.mutable_ledger()->mutable_counters()->set_trained(7);
  EXPECT_THAT(error(bad.SerializeAsString()), HasSubstr("do not add up"));
  bad = good;
  bad.mutable_ledger()->mutable_counters()->set_received(INT64_MIN);
  EXPECT_THAT(error(bad.SerializeAsString()), HasSubstr("out of range"));
  bad = good;
  bad.mutable_ledger()->add_open_prompt_failures(
      3'000'000'000);  // would be negative, and overflow when it is counted on
  EXPECT_THAT(error(bad.SerializeAsString()), HasSubstr("failed leases is out of range"));
  bad = good;
  bad.mutable_ledger()->mutable_ready(0)->set_group("junk");
  EXPECT_THAT(error(bad.SerializeAsString()), HasSubstr("group"));
}

TEST(StateCodecTest, HeadClassesMustFitTheRun) {
  wire::CheckpointState good;
  ASSERT_TRUE(good.ParseFromString(EncodeTrainFacts(SampleFacts(3))));
  const auto error = [](const wire::CheckpointState& state, int heads) {
    const auto classes = DecodeHeadClasses(state.SerializeAsString(), heads);
    EXPECT_EQ(classes.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(classes.status().message());
  };
  EXPECT_EQ(*DecodeHeadClasses(good.SerializeAsString(), 3), SampleFacts(3).head_classes);
  EXPECT_THAT(error(good, 2), HasSubstr("head_classes.local[0] is 2"));
  EXPECT_THAT(error(good, 0), HasSubstr("head_classes are given; this run has none"));
  wire::CheckpointState bad = good;
  bad.mutable_head_classes()->set_global(0, 1);
  EXPECT_THAT(error(bad, 3), HasSubstr("head_classes.global[1] is 1"));
  bad.mutable_head_classes()->clear_global();
  EXPECT_THAT(error(bad, 3), HasSubstr("head_classes.global has 0 heads"));
  EXPECT_FALSE(DecodeTrainFacts(bad.SerializeAsString(), SampleLimits()).ok());
  bad.clear_head_classes();
  EXPECT_THAT(error(bad, 3), HasSubstr("head_classes is missing"));
  EXPECT_EQ(*DecodeHeadClasses(bad.SerializeAsString(), 0), std::nullopt) << "a run that does not calibrate";
  bad.set_learner_step(0);
  EXPECT_EQ(*DecodeHeadClasses(bad.SerializeAsString(), 3), std::nullopt) << "nothing was trained yet";
}

}  // namespace
}  // namespace tactus
