#include "learner/train/packing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>
#include <utility>

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Lengths = std::vector<std::vector<int>>;
using Sizes = std::vector<int64_t>;

// Sequences by group and length; a sequence of n tokens has the group's prompt of 2. So behind another of its group it
// takes n - 1 rows.
struct Sample {
  explicit Sample(const Lengths& lengths_by_group) {
    for (const auto& lengths : lengths_by_group) {
      for (int length : lengths) {
        tokens.push_back(std::vector<TokenId>(static_cast<size_t>(length), 1));
        groups.push_back(static_cast<int32_t>(&lengths - lengths_by_group.data()));
      }
      prompts.push_back({1, static_cast<TokenId>(prompts.size())});
    }
  }
  std::vector<SequenceView> Views() const {
    std::vector<SequenceView> views;
    for (size_t i = 0; i < tokens.size(); ++i) {
      SequenceView view;
      view.prompt = prompts[static_cast<size_t>(groups[i])];
      view.completion = std::span(tokens[i]).first(tokens[i].size() - 1);  // tokens() = 2 + (n - 1) - 1 = n
      view.group = groups[i];
      views.push_back(view);
    }
    return views;
  }
  std::vector<std::vector<TokenId>> tokens, prompts;
  std::vector<int32_t> groups;
};

// The plan of groups with sequences of these lengths.
MicroBatchPlan PlanOf(const Sample& sample, size_t groups, int world, int64_t budget_tokens,
                      const PassCost& cost = {}) {
  MicroBatchPlan plan(world, budget_tokens, groups, cost);
  const std::vector<SequenceView> views = sample.Views();
  size_t end = 0;
  for (size_t g = 0; g < groups; ++g) {
    const size_t begin = end;
    while (end < views.size() && views[end].group == static_cast<int32_t>(g)) ++end;
    plan.Add(std::span(views).subspan(begin, end - begin));
  }
  return plan;
}

using Places = std::vector<std::vector<size_t>>;

// A rank's micro-batches.
Places BatchesOf(const MicroBatchPlan& plan, int rank) {
  Places batches;
  for (size_t b = 0; b < plan.batches(rank); ++b) {
    const std::span<const size_t> places = plan.places(rank, b);
    batches.emplace_back(places.begin(), places.end());
  }
  return batches;
}

Places OnOneRank(const Lengths& lengths) { return BatchesOf(PlanOf(Sample(lengths), lengths.size(), 1, 10), 0); }

TEST(MicroBatchPlanTest, FillsTheBudget) {
  EXPECT_EQ(OnOneRank({{6}, {4}, {5}, {5}, {7}}), (Places{{0, 1}, {2, 3}, {4}}));
  EXPECT_EQ(OnOneRank({{}, {}}), Places{});
}

TEST(MicroBatchPlanTest, KeepsAGroupTogetherWhereThatIsCheap) {
  // The second group, of 2 + 2 + 3 rows, would be cut after 5 + 2 + 2: it waits.
  EXPECT_EQ(OnOneRank({{3, 3}, {2, 3, 4}}), (Places{{0, 1}, {2, 3, 4}}));
  // A group larger than the budget, 4 + 3 + 3 + 3 rows, cannot stay whole.
  EXPECT_EQ(OnOneRank({{6}, {4, 4, 4, 4}}), (Places{{0, 1}, {2, 3, 4}}));
}

TEST(MicroBatchPlanTest, GroupsGoToTheRankWithTheFewestTokensAndTheLastOnesEvenThatOut) {
  const Lengths lengths = {{5, 5}, {3, 3}, {2, 2}, {4, 4}, {2, 2, 2}};
  const MicroBatchPlan plan = PlanOf(Sample(lengths), lengths.size(), 2, 100);
  // 9 | 5, then 9 | 8. The last two groups by sequence, the prompt on each rank: 9 | 12, 13 | 12, 13 | 14, 15 | 14,
  // 15 | 15.
  EXPECT_EQ(BatchesOf(plan, 0), (Places{{0, 1, 7, 9}}));
  EXPECT_EQ(BatchesOf(plan, 1), (Places{{2, 3, 4, 5, 6, 8, 10}}));
}

// A sequence of 40 looks at 820 keys, two of 20 at 420.
TEST(MicroBatchPlanTest, ALongSequenceIsMoreWorkThanItsTokensInShortOnes) {
  const Lengths lengths = {{40}, {20}, {20}, {6}, {6}, {6}};
  const auto first = [&](const PassCost& cost) {
    return BatchesOf(PlanOf(Sample(lengths), lengths.size(), 2, 100, cost), 0);
  };
  EXPECT_EQ(first({}), (Places{{0, 3, 5}})) << "40 | 40, then in turn";
  EXPECT_EQ(first({.row = 1, .key = 1}), (Places{{0}})) << "860 | 460, and 27 each";
  EXPECT_EQ(first({.row = 1000, .key = 1}), (Places{{0, 4}})) << "40,820 | 40,420, then 46,441";
}

TEST(PassCostTest, IsTheProductsMultiplications) {
  ModelConfig config;
  config.vocab_size = 7;
  config.hidden_size = 4;
  config.intermediate_size = 10;
  config.num_layers = 3;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 16;
  const PassCost cost = PassCostOf(config);
  // Queries and what comes back of them 4 x 32 each, keys and values 4 x 16 each, the MLP 3 x 4 x 10; the head.
  EXPECT_EQ(cost.row, 3 * (2 * 4 * 32 + 2 * 4 * 16 + 3 * 4 * 10) + 4 * 7);
  EXPECT_EQ(cost.key, 3 * (32 + 32));  // a score and a value
  double rows = 0;
  for (int p = 5; p < 9; ++p) rows += cost.row + cost.key * (p + 1);
  EXPECT_EQ(cost.Of(5, 9), rows);
}

TEST(MicroBatchPlanTest, FewerSequencesThanRanksLeaveRanksWithout) {
  const MicroBatchPlan plan = PlanOf(Sample(Lengths{{7}}), 1, 3, 10);
  EXPECT_EQ(plan.rounds(), 1u);
  EXPECT_EQ(plan.batches(0) + plan.batches(1) + plan.batches(2), 1u);
  EXPECT_THAT(plan.places(2, 0), IsEmpty());
  EXPECT_EQ(PlanOf(Sample(Lengths{{}}), 1, 3, 10).rounds(), 0u);
}

Lengths RandomLengths(std::mt19937& random, int longest) {
  Lengths lengths(1 + random() % 12);
  for (std::vector<int>& group : lengths) {
    group.resize(random() % 9);
    for (int& length : group) length = 2 + static_cast<int>(random() % static_cast<uint32_t>(longest - 1));
  }
  return lengths;
}

// However unlike the groups are: the difference is that between two groups while they are dealt whole, and the last
// ones take it away where they have the tokens for it.
TEST(MicroBatchPlanTest, SharesAreEvenAndEverySequenceIsInOne) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 300; ++trial) {
    const Lengths lengths = RandomLengths(random, 50);
    const int world = 1 + static_cast<int>(random() % 5);
    const MicroBatchPlan plan = PlanOf(Sample(lengths), lengths.size(), world, 120);
    int largest_group = 0;
    size_t sequences = 0;
    for (const std::vector<int>& group : lengths) {
      sequences += group.size();
      largest_group = std::max(largest_group, std::accumulate(group.begin(), group.end(), 0));
    }
    std::vector<int64_t> shares;
    std::set<size_t> seen;
    for (int rank = 0; rank < world; ++rank) {
      shares.push_back(0);
      for (const std::vector<size_t>& batch : BatchesOf(plan, rank)) {
        int64_t tokens = 0;
        const SequenceView* before = nullptr;
        EXPECT_TRUE(std::ranges::is_sorted(batch));
        for (const size_t place : batch) {
          ASSERT_TRUE(seen.insert(place).second);
          tokens += RowsBehind(std::exchange(before, &plan.sequence(place)), plan.sequence(place));
        }
        ASSERT_GT(tokens, 0);
        ASSERT_LE(tokens, 120);
        shares.back() += tokens;
      }
    }
    ASSERT_EQ(seen.size(), sequences);
    ASSERT_LE(std::ranges::max(shares) - std::ranges::min(shares), largest_group);
  }
}

// Two micro-batches in a row do not fit into one, and a group is in several only where it is larger than one, or on
// several ranks.
TEST(MicroBatchPlanTest, TearsOnlyWhatIsTooLarge) {
  constexpr int64_t kBudget = 60;
  std::mt19937 random(3);
  size_t torn = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const Lengths lengths = RandomLengths(random, 20);
    const MicroBatchPlan plan = PlanOf(Sample(lengths), lengths.size(), 1, kBudget);
    std::vector<std::set<size_t>> batches(lengths.size());
    const Places places = BatchesOf(plan, 0);
    for (size_t b = 0; b < places.size(); ++b) {
      for (const size_t place : places[b]) batches[static_cast<size_t>(plan.sequence(place).group)].insert(b);
    }
    for (size_t g = 0; g < lengths.size(); ++g) {
      const int rows = std::accumulate(lengths[g].begin(), lengths[g].end(), 1 - static_cast<int>(lengths[g].size()));
      if (lengths[g].empty() || rows <= kBudget) {
        ASSERT_LE(batches[g].size(), 1u);
      } else {
        ASSERT_GT(batches[g].size(), 1u);
        ++torn;
      }
    }
  }
  EXPECT_GT(torn, 50u);
}

// A round that stands while groups are awaited is the one of the complete plan.
TEST(MicroBatchPlanTest, WhatStandsIsNeverChanged) {
  std::mt19937 random(2);
  size_t early = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const Lengths lengths = RandomLengths(random, 20);
    const Sample sample(lengths);
    const std::vector<SequenceView> views = sample.Views();
    const int world = 1 + static_cast<int>(random() % 3);
    const MicroBatchPlan whole = PlanOf(sample, lengths.size(), world, 40);
    MicroBatchPlan plan(world, 40, lengths.size());
    size_t begin = 0, stood = 0;
    for (const std::vector<int>& group : lengths) {
      plan.Add(std::span(views).subspan(begin, group.size()));
      begin += group.size();
      ASSERT_GE(plan.rounds(), stood);
      stood = plan.rounds();
      if (!plan.complete()) early += stood;
      for (int rank = 0; rank < world; ++rank) {
        for (size_t r = 0; r < stood; ++r) ASSERT_TRUE(std::ranges::equal(plan.places(rank, r), whole.places(rank, r)));
      }
    }
    ASSERT_TRUE(plan.complete());
    ASSERT_EQ(plan.rounds(), whole.rounds());
  }
  EXPECT_GT(early, 500u) << "rounds stand before the last group is in";
}

TEST(PackSequencesTest, LaysOutAsTheLegendSays) {
  const std::vector<TokenId> prompt = {10, 11}, first = {20, 21, 22}, second = {30};
  const std::vector<float> first_logprobs = {-1, -2, -3}, second_logprobs = {-4}, first_credit = {1, 1.5, 1},
                           second_credit = {1.5};
  const PolicyVersion old{1, 6}, now{1, 7};
  const std::vector<VersionSpan> first_versions = {{0, old}, {2, now}}, second_versions = {{0, now}};
  const std::vector<SequenceView> views = {
      {prompt, first, 4, {0.5}, first_logprobs, first_credit, first_versions},
      {prompt, second, 4, {-0.5}, second_logprobs, second_credit, second_versions}};
  const auto batch = PackSequences(views, 31, now);
  ASSERT_TRUE(batch.ok()) << batch.status();
  const TrainBatch::Fields& fields = batch->fields();
  EXPECT_THAT(fields.sequences.token_ids, ElementsAre(10, 11, 20, 21, 11)) << "the prompt once, but for its last token";
  EXPECT_THAT(fields.sequences.sequence_starts, ElementsAre(0, 4, 5));
  EXPECT_THAT(fields.sequences.shared_tokens, ElementsAre(0, 1));
  EXPECT_THAT(fields.sequences.target_rows, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(fields.sequences.targets, ElementsAre(20, 21, 22, 30));
  EXPECT_THAT(fields.target_starts, ElementsAre(0, 3, 4));
  EXPECT_THAT(fields.groups, ElementsAre(4, 4));
  EXPECT_THAT(fields.advantages, ElementsAre(0.5, 0.5, 0.5, -0.5));
  EXPECT_THAT(fields.behavior_logprobs, ElementsAre(-1, -2, -3, -4));
  EXPECT_THAT(fields.credit, ElementsAre(1, 1.5, 1, 1.5));
  EXPECT_THAT(fields.on_policy, ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(batch->Targets(std::span<const float>(fields.credit), 1), ElementsAre(1.5));
}

// Whatever the group's number: what is in the rows decides.
TEST(PackSequencesTest, SharesAPromptWithTheSequenceBeforeIfItIsTheSame) {
  const std::vector<TokenId> prompt = {1, 2, 3}, same = prompt, other = {1, 2, 4}, one = {1}, completion = {5, 6};
  std::vector<SequenceView> views;
  for (const std::vector<TokenId>* p : {&prompt, &same, &prompt, &other, &prompt, &one, &one}) {
    SequenceView& view = views.emplace_back();
    view.prompt = *p;
    view.completion = completion;
  }
  const auto batch = PackSequences(views, 10, {});
  ASSERT_TRUE(batch.ok()) << batch.status();
  const TrainSequences& packed = batch->fields().sequences;
  EXPECT_THAT(packed.shared_tokens, ElementsAre(0, 2, 2, 0, 0, 0, 0));
  EXPECT_THAT(packed.sequence_starts, ElementsAre(0, 4, 6, 8, 12, 16, 18, 20));
  EXPECT_THAT(packed.target_rows, ElementsAre(2, 3, 4, 5, 6, 7, 10, 11, 14, 15, 16, 17, 18, 19));
  int64_t rows = 0;
  for (size_t i = 0; i < views.size(); ++i) rows += RowsBehind(i == 0 ? nullptr : &views[i - 1], views[i]);
  EXPECT_EQ(rows, 20);
}

TEST(CheckSequencesTest, RefusesWhatCannotBeTrained) {
  const std::vector<TokenId> prompt = {1}, completion = {2, 3}, foreign = {2, 5}, negative = {2, -1}, none;
  const std::vector<float> logprobs = {-1};
  const auto error = [](const SequenceView& view, int64_t budget = 10) {
    return std::string(CheckSequences({&view, 1}, budget, 5).message());
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

TEST(TrainBatchTest, OnlyAFamilysHeadIsShared) {
  const auto error = [](Sizes shared) {
    TrainBatch::Fields fields;
    fields.sequences = {{1, 2, 3, 4}, {0, 2, 3, 4}, {0, 2, 3}, {2, 3, 4}, std::move(shared)};
    fields.target_starts = {0, 1, 2, 3};
    fields.groups = {0, 0, 0};
    fields.advantages = {1, 2, 3};
    return std::string(TrainBatch::Create(std::move(fields), 5).status().message());
  };
  for (const Sizes& good : {Sizes{}, Sizes{0, 0, 0}, Sizes{0, 2, 2}, Sizes{0, 1, 0}, Sizes{0, 0, 1}})
    EXPECT_EQ(error(good), "");
  EXPECT_THAT(error({0, 1}), HasSubstr("shared_tokens has 2 entries, expected 3"));
  EXPECT_THAT(error({1, 0, 0}), HasSubstr("shared_tokens holds 1 at 0"));
  EXPECT_THAT(error({0, -1, 0}), HasSubstr("shared_tokens holds -1 at 1"));
  EXPECT_THAT(error({0, 1, 2}), HasSubstr("shared_tokens holds 2 at 2")) << "another number than the family's";
  EXPECT_THAT(error({0, 3, 3}), HasSubstr("its head's 2 rows"));
  EXPECT_THAT(error({0, 0, 2}), HasSubstr("its head's 1 rows"));
}

TEST(TrainBatchTest, CreationChecksEveryShape) {
  const auto good = [] {
    TrainBatch::Fields fields;
    fields.sequences = {{1, 2, 3, 4}, {0, 2, 4}, {0, 2, 3}, {2, 3, 4}};
    fields.target_starts = {0, 1, 3};
    fields.groups = {0, 0};
    fields.advantages = {1, 2, 2};
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
      {"sequence_starts", [](auto& f) { f.groups = {0}; }},
      {"advantages", [](auto& f) { f.advantages.pop_back(); }},
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
