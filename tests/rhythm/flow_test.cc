#include "common/rhythm/flow.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>

#include "tests/rhythm/flow_reference.h"
#include "tests/rhythm/reference.h"

namespace tactus {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kAll = 1 << 20;

// rows [N][>= P + t], as numbers that float32 holds.
FlowRows RowsOf(const std::vector<std::vector<double>>& rows, int64_t prompt, int64_t entries) {
  FlowRows flow;
  flow.prompt_tokens = prompt;
  for (size_t t = 0; t < rows.size(); ++t) {
    const auto keys = static_cast<int64_t>(t) + prompt;
    AppendRow(std::vector<float>(rows[t].begin(), rows[t].begin() + keys), entries, flow);
  }
  return flow;
}

// Mean rows of a few random heads, rounded to float32.
std::vector<std::vector<double>> RandomRows(std::mt19937_64& random, int64_t prompt, int64_t tokens) {
  const reference::Attention attention = reference::RandomAttention(random, 3, prompt, tokens);
  std::vector<std::vector<double>> rows(tokens, std::vector<double>(prompt + tokens));
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t j = 0; j <= prompt + t; ++j) {
      const double mean = (attention.At(0, t, j) + attention.At(1, t, j) + attention.At(2, t, j)) / 3;
      rows[t][j] = double{static_cast<float>(mean)};
    }
  }
  return rows;
}

TEST(FlowTest, KeepsTheLargestEntriesTheEarlierOfEqualOnes) {
  FlowRows rows;
  rows.prompt_tokens = 6;
  AppendRow(std::vector<float>{0.125f, 0.25f, 0.125f, 0.0f, 0.125f, 0.25f}, 4, rows);
  EXPECT_THAT(rows.positions, ElementsAre(0, 1, 2, 5));
  EXPECT_THAT(rows.weights, ElementsAre(0.125f, 0.25f, 0.125f, 0.25f));
  AppendRow(std::vector<float>{0.5f, 0, 0, 0, 0, 0, 0.25f}, 4, rows);  // fewer than four above 0
  AppendRow(std::vector<float>{0.5f, 0.25f, 0, 0, 0, 0, 0, 0.125f}, 1, rows);
  EXPECT_THAT(rows.row_starts, ElementsAre(0, 4, 6, 7));
  EXPECT_THAT(rows.positions, ElementsAre(0, 1, 2, 5, 0, 6, 0));
  EXPECT_THAT(rows.discarded, ElementsAre(0.125f, 0, 0.375f));
}

// Prompt 0; tokens a, b, c, d at 1..4; d is the answer. Half of d's attention goes to b, a quarter to c. b reads a, c
// reads the prompt alone, and what a pays to the prompt is all there is before it.
TEST(FlowTest, FollowsAChain) {
  const std::vector<std::vector<double>> attention = {{1}, {0, 1}, {0.5, 0, 0}, {0, 0, 0.5, 0.25}};
  const FlowRows rows = RowsOf(attention, 1, kAll);
  const Flow flow = TraceFlow(rows, {3, 4});
  EXPECT_THAT(flow.reach, ElementsAre(0.5 + 0.125, 0.5, 0.5, 0.25, 1));
  EXPECT_EQ(flow.total, 0.625);
  EXPECT_THAT(flow.throughput, ElementsAre(1, 0.8, 0.8, 0.2, 1));
  EXPECT_THAT(FlowCredit(rows, flow), ElementsAre(0.8, 0.8, 0.2, 0));
  const std::vector<FlowEdge> edges = FlowBackbone(rows, flow, 4);
  ASSERT_EQ(edges.size(), 4u);
  EXPECT_EQ(std::pair(edges[0].from, edges[0].to), std::pair(0, 1));  // of equal ones the earlier target
  EXPECT_EQ(std::pair(edges[1].from, edges[1].to), std::pair(1, 2));
  EXPECT_EQ(std::pair(edges[2].from, edges[2].to), std::pair(2, 4));
  EXPECT_EQ(edges[2].flow, 0.8);
  EXPECT_EQ(std::pair(edges[3].from, edges[3].to), std::pair(0, 3));
  EXPECT_EQ(edges[3].flow, 0.2);
}

TEST(FlowTest, WhatDoesNotReachTheAnswerHasNone) {
  // Token 1 reads token 0 and nobody reads it; token 2 is the answer, token 3 comes after it.
  const std::vector<std::vector<double>> attention = {{1}, {0, 1}, {0, 1, 0}, {0.5, 0, 0.5, 0}};
  const FlowRows rows = RowsOf(attention, 1, kAll);
  EXPECT_THAT(FlowCredit(rows, TraceFlow(rows, {2, 3})), ElementsAre(1, 0, 0, 0));
  // The answer reads nothing that comes from the prompt.
  const FlowRows cut = RowsOf({{0}, {0, 1}}, 1, kAll);
  const Flow none = TraceFlow(cut, {1, 2});
  EXPECT_EQ(none.total, 0);
  EXPECT_THAT(none.throughput, Each(0.0));
  EXPECT_THAT(FlowBackbone(cut, none, 9), IsEmpty());
  EXPECT_THAT(TraceFlow(rows, {4, 4}).throughput, Each(0.0)) << "there is no answer";
  EXPECT_THAT(FlowCredit(rows, TraceFlow(rows, {0, 4})), Each(0.0)) << "all of it is the answer";
  FlowRows empty;
  empty.prompt_tokens = 3;
  EXPECT_THAT(TraceFlow(empty, {0, 0}).throughput, ElementsAre(0, 0, 0));
}

TEST(FlowTest, MatchesTheDenseReference) {
  std::mt19937_64 random(4);
  for (int trial = 0; trial < 120; ++trial) {
    const int64_t prompt = 1 + static_cast<int64_t>(random() % 30);
    const int64_t tokens = trial == 0 ? 1 : trial == 1 ? 400 : 1 + static_cast<int64_t>(random() % 90);
    const int64_t begin = static_cast<int64_t>(random() % tokens);
    const TokenRange answer{begin, begin + 1 + static_cast<int64_t>(random() % (tokens - begin))};
    const int64_t entries = trial % 3 == 2 ? 1 + static_cast<int64_t>(random() % 8) : kAll;
    std::vector<std::vector<double>> attention = RandomRows(random, prompt, tokens);
    const FlowRows rows = RowsOf(attention, prompt, entries);
    double kept = 0, dropped = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      // What is not among the `entries` best of the row is none of the graph's.
      const std::vector<double> whole(attention[t].begin(), attention[t].begin() + prompt + t);
      for (int64_t j = 0; j < prompt + tokens; ++j) {
        int64_t ahead = 0;
        for (int64_t i = 0; i < prompt + t && j < prompt + t; ++i) {
          ahead += whole[i] > whole[j] || (whole[i] == whole[j] && i < j) ? 1 : 0;
        }
        const bool keeps = j < prompt + t && ahead < entries;
        if (j < prompt + t) (keeps ? kept : dropped) += whole[j];
        if (!keeps) attention[t][j] = 0;
      }
    }
    const Flow flow = TraceFlow(rows, answer);
    const reference::DenseFlow dense = reference::FlowOf(attention, prompt, answer);
    SCOPED_TRACE(testing::Message() << "trial " << trial << " P " << prompt << " N " << tokens);
    for (int64_t i = 0; i < prompt + tokens; ++i) {
      ASSERT_NEAR(flow.reach[i], dense.reach[i], 1e-10 * dense.reach[i]) << i;
      ASSERT_NEAR(flow.throughput[i], dense.throughput[i], 1e-10 * dense.throughput[i]) << i;
    }
    ASSERT_NEAR(flow.discarded, dropped / (kept + dropped), 1e-6);
  }
}

// A conversation: rows of the model's tokens alone, and flow that enters at the environment's as it does at the prompt.
TEST(FlowTest, ConversationsMatchTheDenseReference) {
  std::mt19937_64 random(8);
  for (int trial = 0; trial < 60; ++trial) {
    const int64_t prompt = 1 + static_cast<int64_t>(random() % 20), tokens = 30 + static_cast<int64_t>(random() % 90);
    const std::vector<std::vector<double>> attention = RandomRows(random, prompt, tokens);
    const std::vector<int32_t> sampled = reference::RandomTurns(random, tokens, 15);
    std::vector<bool> others(static_cast<size_t>(tokens), true);
    FlowRows rows;
    rows.prompt_tokens = prompt;
    for (const int32_t t : sampled) {
      others[static_cast<size_t>(t)] = false;
      const auto& row = attention[static_cast<size_t>(t)];
      AppendRow(std::vector<float>(row.begin(), row.begin() + prompt + t), kAll, rows);
    }
    ASSERT_EQ(rows.tokens(), static_cast<int64_t>(sampled.size()));
    ASSERT_EQ(rows.response_tokens(), tokens);
    const int64_t begin = trial % 2 == 0 ? tokens - 1 : sampled[sampled.size() / 2];
    const TokenRange answer{begin, begin + 1};
    const Flow flow = TraceFlow(rows, answer);
    const reference::DenseFlow dense = reference::FlowOf(attention, prompt, answer, others);
    SCOPED_TRACE(testing::Message() << "trial " << trial << " P " << prompt << " T " << tokens);
    for (size_t i = 0; i < dense.reach.size(); ++i) {
      ASSERT_NEAR(flow.reach[i], dense.reach[i], 1e-10 * dense.reach[i]) << i;
      ASSERT_NEAR(flow.throughput[i], dense.throughput[i], 1e-10 * dense.throughput[i]) << i;
    }
    const std::vector<double> credit = FlowCredit(rows, flow);
    ASSERT_EQ(credit.size(), sampled.size());
    for (size_t i = 0; i < sampled.size(); ++i) {
      const int64_t t = sampled[i];
      ASSERT_EQ(credit[i], t == begin ? 0.0 : flow.throughput[static_cast<size_t>(prompt + t)]) << t;
    }
    for (const FlowEdge& edge : FlowBackbone(rows, flow, 50)) {
      ASSERT_TRUE(edge.to >= prompt && !others[static_cast<size_t>(edge.to - prompt)]) << edge.to;
    }
  }
}

// What enters a token leaves it, and all that leaves the prompt arrives in the answer.
TEST(FlowTest, IsConserved) {
  std::mt19937_64 random(5);
  for (const int64_t entries : {kAll, int64_t{6}}) {
    const FlowRows rows = RowsOf(RandomRows(random, 12, 80), 12, entries);
    const Flow flow = TraceFlow(rows, {70, 76});
    std::map<int32_t, double> in, out;
    for (const FlowEdge& edge : FlowBackbone(rows, flow, kAll)) {
      in[edge.to] += edge.flow;
      out[edge.from] += edge.flow;
    }
    double leaves = 0, arrives = 0;
    for (int32_t i = 0; i < 92; ++i) {
      const double through = flow.throughput[static_cast<size_t>(i)];
      if (i < 12) {
        EXPECT_NEAR(out[i], through, 1e-12) << i;
        leaves += through;
      } else if (i < 82) {
        EXPECT_NEAR(in[i], through, 1e-12) << i;
        EXPECT_NEAR(out[i], through, 1e-12) << i;
      } else if (i < 88) {
        EXPECT_EQ(out[i], 0) << i;
        arrives += through;
      } else {
        EXPECT_EQ(through, 0) << i;
      }
    }
    EXPECT_NEAR(leaves, 1, 1e-12);
    EXPECT_NEAR(arrives, 1, 1e-12);
  }
}

}  // namespace
}  // namespace tactus
