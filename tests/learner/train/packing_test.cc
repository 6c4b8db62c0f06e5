#include "learner/train/packing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Sequences by group and length; a sequence of n tokens has a prompt of 2.
struct Sample {
  explicit Sample(const std::vector<std::vector<int>>& lengths_by_group) {
    for (const auto& lengths : lengths_by_group) {
      for (int length : lengths) {
        tokens.push_back(std::vector<TokenId>(static_cast<size_t>(length), 1));
        groups.push_back(static_cast<int32_t>(&lengths - lengths_by_group.data()));
      }
    }
  }
  std::vector<SequenceView> Views() const {
    static const std::vector<TokenId> kPrompt = {1, 1};
    std::vector<SequenceView> views;
    for (size_t i = 0; i < tokens.size(); ++i) {
      SequenceView view;
      view.prompt = kPrompt;
      view.completion = std::span(tokens[i]).first(tokens[i].size() - 1);  // tokens() = 2 + (n - 1) - 1 = n
      view.group = groups[i];
      views.push_back(view);
    }
    return views;
  }
  std::vector<std::vector<TokenId>> tokens;
  std::vector<int32_t> groups;
};

std::vector<size_t> RankCuts(const std::vector<int>& lengths, int world) {
  const Sample sample({lengths});
  return SplitAcrossRanks(sample.Views(), world);
}

TEST(SplitAcrossRanksTest, CutsAreBalancedAndContiguous) {
  EXPECT_THAT(RankCuts({10, 10, 10, 10}, 1), ElementsAre(0, 4));
  EXPECT_THAT(RankCuts({10, 10, 10, 10}, 2), ElementsAre(0, 2, 4));
  EXPECT_THAT(RankCuts({30, 10, 10, 10}, 2), ElementsAre(0, 1, 4));
  EXPECT_THAT(RankCuts({10, 10, 10, 10}, 4), ElementsAre(0, 1, 2, 3, 4));
}

TEST(SplitAcrossRanksTest, FewerSequencesThanRanksLeaveRanksEmpty) {
  EXPECT_THAT(RankCuts({}, 3), ElementsAre(0, 0, 0, 0));
  const std::vector<size_t> cuts = RankCuts({10}, 3);
  EXPECT_EQ(cuts.size(), 4u);
  EXPECT_EQ(cuts.front(), 0u);
  EXPECT_EQ(cuts.back(), 1u);
  EXPECT_TRUE(std::is_sorted(cuts.begin(), cuts.end()));
}

TEST(SplitAcrossRanksTest, NoShareIsFurtherFromEvenThanASequence) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<int> lengths(1 + random() % 40);
    for (int& length : lengths) length = 2 + static_cast<int>(random() % 50);
    const int world = 1 + static_cast<int>(random() % 5);
    const std::vector<size_t> cuts = RankCuts(lengths, world);
    ASSERT_EQ(cuts.size(), static_cast<size_t>(world) + 1);
    ASSERT_EQ(cuts.front(), 0u);
    ASSERT_EQ(cuts.back(), lengths.size());
    int total = 0;
    for (int length : lengths) total += length;
    for (int rank = 0; rank < world; ++rank) {
      int share = 0;
      for (size_t i = cuts[static_cast<size_t>(rank)]; i < cuts[static_cast<size_t>(rank) + 1]; ++i)
        share += lengths[i];
      ASSERT_LE(std::abs(share - total / world), 52);
    }
  }
}

TEST(SplitIntoMicroBatchesTest, FillsTheBudget) {
  EXPECT_THAT(SplitIntoMicroBatches(Sample({{6}, {4}, {5}, {5}, {7}}).Views(), 10), ElementsAre(0, 2, 4, 5));
  EXPECT_THAT(SplitIntoMicroBatches({}, 10), ElementsAre(0));
}

TEST(SplitIntoMicroBatchesTest, KeepsAGroupTogetherWhereThatIsCheap) {
  // The second group would be cut after 6 + 2; it waits, as the first micro-batch is more than half full.
  EXPECT_THAT(SplitIntoMicroBatches(Sample({{3, 3}, {2, 3, 4}}).Views(), 10), ElementsAre(0, 2, 5));
  // Less than half full: it does not wait.
  EXPECT_THAT(SplitIntoMicroBatches(Sample({{2, 2}, {2, 3, 4}}).Views(), 10), ElementsAre(0, 4, 5));
  // A group larger than the budget cannot stay whole.
  EXPECT_THAT(SplitIntoMicroBatches(Sample({{6}, {4, 4, 4}}).Views(), 10), ElementsAre(0, 2, 4));
}

TEST(PackSequencesTest, LaysOutAsTheLegendSays) {
  const std::vector<TokenId> prompt = {10, 11}, first = {20, 21, 22}, second = {30};
  const std::vector<float> first_logprobs = {-1, -2, -3}, second_logprobs = {-4}, first_credit = {1, 1.5, 1},
                           second_credit = {1.5};
  const PolicyVersion old{1, 6}, now{1, 7};
  const std::vector<VersionSpan> first_versions = {{0, old}, {2, now}}, second_versions = {{0, now}};
  const std::vector<SequenceView> views = {{prompt, first, 4, 0.5, first_logprobs, first_credit, first_versions},
                                           {prompt, second, 4, -0.5, second_logprobs, second_credit, second_versions}};
  const auto batches = PackSequences(views, 100, 31, now);
  ASSERT_TRUE(batches.ok()) << batches.status();
  ASSERT_EQ(batches->size(), 1u);
  const TrainBatch& batch = (*batches)[0];
  const TrainBatch::Fields& fields = batch.fields();
  EXPECT_THAT(fields.sequences.token_ids, ElementsAre(10, 11, 20, 21, 10, 11));
  EXPECT_THAT(fields.sequences.sequence_starts, ElementsAre(0, 4, 6));
  EXPECT_THAT(fields.sequences.target_rows, ElementsAre(1, 2, 3, 5));
  EXPECT_THAT(fields.sequences.targets, ElementsAre(20, 21, 22, 30));
  EXPECT_THAT(fields.target_starts, ElementsAre(0, 3, 4));
  EXPECT_THAT(fields.groups, ElementsAre(4, 4));
  EXPECT_THAT(fields.advantages, ElementsAre(0.5, -0.5));
  EXPECT_THAT(fields.behavior_logprobs, ElementsAre(-1, -2, -3, -4));
  EXPECT_THAT(fields.credit, ElementsAre(1, 1.5, 1, 1.5));
  EXPECT_THAT(fields.on_policy, ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(batch.Targets(std::span<const float>(fields.credit), 1), ElementsAre(1.5));
}

TEST(PackSequencesTest, NothingGivesNoBatch) {
  const auto batches = PackSequences({}, 10, 5, {});
  ASSERT_TRUE(batches.ok());
  EXPECT_THAT(*batches, IsEmpty());
}

TEST(PackSequencesTest, RefusesWhatCannotBeTrained) {
  const std::vector<TokenId> prompt = {1}, completion = {2, 3}, foreign = {2, 5}, negative = {2, -1}, none;
  const std::vector<float> logprobs = {-1};
  const auto error = [](const SequenceView& view, int64_t budget = 10) {
    return std::string(PackSequences({&view, 1}, budget, 5, {}).status().message());
  };
  SequenceView view;
  view.prompt = prompt;
  view.completion = completion;
  EXPECT_EQ(error(view), "");
  EXPECT_THAT(error(view, 1), HasSubstr("learner.micro_batch_tokens"));
  view.completion = foreign;
  EXPECT_THAT(error(view), HasSubstr("not in [0, 5)"));
  view.completion = negative;
  EXPECT_THAT(error(view), HasSubstr("holds -1"));
  view.completion = none;
  EXPECT_THAT(error(view), HasSubstr("completion token"));
  view.completion = completion;
  view.prompt = none;
  EXPECT_THAT(error(view), HasSubstr("prompt token"));
  view.prompt = foreign;
  EXPECT_THAT(error(view), HasSubstr("a prompt"));
  view.prompt = prompt;
  view.behavior_logprobs = logprobs;
  EXPECT_THAT(error(view), HasSubstr("has 1 entries, expected 2"));
}

TEST(TrainBatchTest, CreationChecksEveryShape) {
  const auto good = [] {
    TrainBatch::Fields fields;
    fields.sequences = {{1, 2, 3, 4}, {0, 2, 4}, {0, 2, 3}, {2, 3, 4}};
    fields.target_starts = {0, 1, 3};
    fields.groups = {0, 0};
    fields.advantages = {1, 2};
    fields.behavior_logprobs = {-1, -1, -1};
    fields.credit = {1, 1, 1};
    fields.on_policy = {1, 1, 1};
    return fields;
  };
  EXPECT_TRUE(TrainBatch::Create(good(), 5).ok());
  const std::vector<std::pair<const char*, void (*)(TrainBatch::Fields&)>> faults = {
      {"sequence_starts",
       [](auto& f) {
         f.sequences.sequence_starts = {0, 4};
       }},
      {"sequence_starts",
       [](auto& f) {
         f.sequences.sequence_starts = {0, 2, 3};
       }},
      {"sequence_starts",
       [](auto& f) {
         f.sequences.sequence_starts = {0, 4, 4};
       }},
      {"sequence_starts", [](auto& f) { f.sequences.sequence_starts = {}; }},
      {"target_starts",
       [](auto& f) {
         f.target_starts = {0, 0, 3};
       }},
      {"target_starts",
       [](auto& f) {
         f.target_starts = {0, 3};
       }},
      {"groups", [](auto& f) { f.groups = {0}; }},
      {"target_rows",
       [](auto& f) {
         f.sequences.target_rows = {0, 2};
       }},
      {"target_rows",
       [](auto& f) {
         f.sequences.target_rows = {2, 2, 3};
       }},
      {"target_rows",
       [](auto& f) {
         f.sequences.target_rows = {0, 3, 3};
       }},
      {"target_rows",
       [](auto& f) {
         f.sequences.target_rows = {0, 2, 4};
       }},
      {"behavior_logprobs", [](auto& f) { f.behavior_logprobs.pop_back(); }},
      {"credit", [](auto& f) { f.credit.pop_back(); }},
      {"on_policy", [](auto& f) { f.on_policy.pop_back(); }},
      {"token_ids", [](auto& f) { f.sequences.token_ids[3] = 5; }},
      {"targets", [](auto& f) { f.sequences.targets[0] = -1; }},
  };
  for (const auto& [field, spoil] : faults) {
    TrainBatch::Fields fields = good();
    spoil(fields);
    EXPECT_THAT(std::string(TrainBatch::Create(std::move(fields), 5).status().message()), HasSubstr(field));
  }
}

}  // namespace
}  // namespace tactus
