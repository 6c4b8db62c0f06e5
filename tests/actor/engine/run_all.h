// Runs requests through an engine on a real (tiny) model and keeps what came out.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "actor/engine/load_engine.h"
#include "tools/batch/run_requests.h"

namespace tactus {

// By request id and completion index.
struct Outcome {
  std::map<std::pair<uint64_t, int>, Completion> completions;
  std::map<std::pair<uint64_t, int>, HeadSums> sums;                              // of measured completions
  std::map<std::pair<uint64_t, int>, std::vector<std::vector<float>>> attention;  // of those that keep it
  std::map<std::pair<uint64_t, int>, FlowRows> flows;  // empty ones unless the probe keeps entries
  SchedulerStats stats;
};

inline void Keep(FinishedCompletion one, Outcome& outcome) {
  const std::pair key{one.request_id, one.completion_index};
  if (one.rhythm != nullptr) {
    outcome.sums[key] = one.rhythm->Finish();
    outcome.attention[key] = one.rhythm->attention();
    outcome.flows[key] = one.rhythm->flow_rows();
  }
  outcome.completions[key] = std::move(one.completion);
}

inline Outcome RunAll(Engine& engine, const std::vector<EngineRequest>& requests) {
  Outcome outcome;
  size_t next = 0;
  const absl::Status status = RunRequests(
      engine,
      [&]() -> absl::StatusOr<std::optional<EngineRequest>> {
        if (next == requests.size()) return std::nullopt;
        return requests[next++];
      },
      [&](FinishedCompletion one) {
        Keep(std::move(one), outcome);
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
  outcome.stats = engine.stats();
  return outcome;
}

inline Outcome RunAll(const ModelFolder& folder, const EngineOptions& options, int64_t pages, StorageDType dtype,
                      const std::vector<EngineRequest>& requests) {
  auto engine = *Engine::Create(options, *CreateModelRunner(folder, {.weights_dtype = dtype, .max_pages = pages}));
  return RunAll(*engine, requests);
}

// Conversations: what the environment says to a turn comes from `reply`, nothing of it ends the conversation. Replies
// come in reverse, and only when nothing else is to do: every sequence waits as long as can be.
inline Outcome Converse(Engine& engine, const std::vector<EngineRequest>& requests,
                        const std::function<std::vector<TokenId>(const EndedTurn&)>& reply) {
  for (const EngineRequest& request : requests) EXPECT_TRUE(engine.Add(request).ok());
  Outcome outcome;
  std::vector<EndedTurn> unanswered;
  while (true) {
    while (!engine.idle()) {
      if (const auto step = engine.Step(); !step.ok()) {
        ADD_FAILURE() << step.status();
        return outcome;
      }
    }
    for (EndedTurn& turn : engine.TakeEndedTurns()) unanswered.push_back(std::move(turn));
    if (unanswered.empty()) break;
    const EndedTurn turn = std::move(unanswered.back());
    unanswered.pop_back();
    if (const std::vector<TokenId> words = reply(turn); !words.empty()) {
      EXPECT_TRUE(engine.Continue(turn.request_id, turn.completion_index, words).ok());
    } else {
      Keep(*engine.Conclude(turn.request_id, turn.completion_index), outcome);
    }
  }
  outcome.stats = engine.stats();
  return outcome;
}

inline std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  bits.reserve(values.size());
  for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

// Tokens, log-probs, entropies, why they ended, and what was measured of the attention.
inline void ExpectSameBits(const Outcome& got, const Outcome& want) {
  ASSERT_EQ(got.completions.size(), want.completions.size());
  for (const auto& [key, completion] : want.completions) {
    const Completion& other = got.completions.at(key);
    EXPECT_EQ(other.token_ids, completion.token_ids) << key.first << "/" << key.second;
    EXPECT_EQ(Bits(other.logprobs), Bits(completion.logprobs)) << key.first << "/" << key.second;
    EXPECT_EQ(Bits(other.entropy), Bits(completion.entropy)) << key.first << "/" << key.second;
    EXPECT_EQ(other.finish_reason, completion.finish_reason) << key.first << "/" << key.second;
  }
  ASSERT_EQ(got.sums.size(), want.sums.size());
  for (const auto& [key, sums] : want.sums) {
    const HeadSums& other = got.sums.at(key);
    EXPECT_EQ(other.places, sums.places);
    EXPECT_EQ(other.span_sum, sums.span_sum);
    EXPECT_EQ(other.waad, sums.waad);
    EXPECT_EQ(other.fai_sum, sums.fai_sum);
  }
}

}  // namespace tactus
