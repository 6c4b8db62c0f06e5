#include "actor/engine/continuation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace tactus {
namespace {

using ::testing::ElementsAre;

TEST(ContinuationTest, AsksForWhatTheAnswerCouldStillHaveBecome) {
  EngineRequest request;
  request.request_id = 5;
  request.prompt_id = 6;
  request.seed = 7;
  request.prompt_ids = {1, 2, 3};
  request.num_completions = 8;
  request.max_tokens = 10;
  request.sampling = {.temperature = 0.5F, .top_p = 0.9F, .top_k = 4};
  request.stop_ids = {9};
  request.measure_rhythm = true;
  const std::vector<TokenId> answer = {11, 12, 13, 14};
  const EngineRequest from = ContinuationRequest(request, answer, 2, 32);
  EXPECT_THAT(from.prompt_ids, ElementsAre(1, 2, 3, 11, 12));
  EXPECT_EQ(from.num_completions, 32);
  EXPECT_EQ(from.max_tokens, 8);
  EXPECT_FALSE(from.measure_rhythm);
  EXPECT_EQ(from.prompt_id, 6u);
  EXPECT_EQ(from.seed, 7u);
  EXPECT_EQ(from.sampling.temperature, 0.5F);
  EXPECT_EQ(from.sampling.top_k, 4);
  EXPECT_THAT(from.stop_ids, ElementsAre(9));
  EXPECT_THAT(ContinuationRequest(request, answer, 0, 1).prompt_ids, ElementsAre(1, 2, 3));
}

TEST(ContinuationTest, IsJudgedAsAWholeAnswer) {
  const std::vector<TokenId> answer = {11, 12, 13, 14};
  Completion rest;
  rest.token_ids = {21, 9};
  for (const FinishReason reason : {FinishReason::kStop, FinishReason::kLength}) {
    rest.finish_reason = reason;
    const Completion whole = ContinuedAnswer(answer, 3, rest);
    EXPECT_THAT(whole.token_ids, ElementsAre(11, 12, 13, 21, 9));
    EXPECT_EQ(whole.finish_reason, reason);
  }
}

}  // namespace
}  // namespace tactus
