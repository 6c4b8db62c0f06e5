// An actor whose answers are conversations with a server over loopback: what it hands in is what was said, by whom, and
// what fails is counted and never a reward.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "actor/actor.h"
#include "common/data/codec.h"
#include "common/data/turns.h"
#include "tests/actor/engine/fake_model_runner.h"
#include "tests/actor/fake_parts.h"
#include "tests/environment/grpc_fake_server.h"

namespace tactus {
namespace {

using testing::FakeDraw;
using testing::FakeModelRunner;

constexpr int kLongest = 60;  // of a whole answer

// "5 6 " are two tokens.
class NumberTokenizer final : public FakeTokenizer {
 public:
  std::vector<TokenId> Encode(absl::string_view text, bool) const override {
    std::vector<TokenId> ids;
    for (const absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
      EXPECT_TRUE(absl::SimpleAtoi(word, &ids.emplace_back()));
    }
    return ids;
  }
};

// Ends an answer with the token 4, and begins the next one with 30.
class NumberTemplate final : public ChatTemplate {
 public:
  absl::StatusOr<std::string> Render(const std::vector<ChatMessage>&) const override { return "1"; }
  absl::StatusOr<std::string> RenderBetweenAnswers(const std::vector<ChatMessage>& messages) const override {
    std::string text = "4 ";
    for (const ChatMessage& message : messages) {
      if (message.role != "tool") return absl::InvalidArgumentError(absl::StrCat("no role ", message.role));
      absl::StrAppend(&text, message.content, " ");
    }
    return absl::StrCat(text, "30 ");
  }
};

class ActorConversationTest : public ::testing::Test {
 protected:
  ActorConversationTest() {
    weights_.Publish(kFirst, {0});
    settings_.max_completion_tokens = kLongest;
    server_.converse = [this](int, grpc::ServerContext& context, const v1::Opening& opening,
                              FakeServer::Stream& stream) { return Serve(context, opening, stream); };
    server_.Start();
  }

  // After each turn what `say` wants, with a reward of a quarter; a half with done after the last.
  grpc::Status Serve(grpc::ServerContext& context, const v1::Opening& opening, FakeServer::Stream& stream) {
    v1::ConverseRequest request;
    while (stream.Read(&request)) {
      const bool last = request.has_stop() || request.turn().last() != v1::LIMIT_UNSPECIFIED;
      if (request.has_stop()) ++stops_;
      v1::ConverseReply reply = last ? DoneReply(0.5, v1::FAIL) : v1::ConverseReply();
      if (!last) {
        const grpc::Status failed = say(context, opening, request.turn(), reply);
        if (!failed.ok()) return failed;
        v1::RewardPart& part = *reply.add_parts();
        part.set_value(0.25);
      }
      stream.Write(reply);
      if (last) return grpc::Status::OK;
    }
    return {grpc::StatusCode::CANCELLED, "the actor has gone"};
  }

  std::unique_ptr<Actor> MakeActor(FakePort& port, int pages = 60, absl::Duration reply_timeout = kLong) {
    episodes_ = *Episodes::Create({"127.0.0.1", server_.port()}, {"", "", "", true},
                                  {.reply_timeout = reply_timeout, .calls_at_once = 100});
    EngineOptions options{.max_sequences = 4, .max_step_tokens = 16, .max_waiting_groups = 3};
    if (credit_.MeasuresAttention()) options.probe = *credit_.Probe(1, testing::kFakeHeads);
    auto engine = *Engine::Create(options, std::make_unique<FakeModelRunner>(pages, kVocab, 1000));
    return std::make_unique<Actor>(settings_, std::move(engine), &port, &weights_,
                                   GroupScorer(&tokenizer_, nullptr, &credit_),
                                   ConversationParts{.episodes = episodes_.get(),
                                                     .encoder = &encoder_,
                                                     .tokenizer = &tokenizer_,
                                                     .max_turns = 4,
                                                     .max_turn_tokens = 9});
  }

  // That a group is one of conversations as the model drew them.
  void ExpectConversations(const TrajectoryGroup& group) {
    const TrajectoryLimits limits{.max_prompt_tokens = 100,
                                  .max_completion_tokens = kLongest,
                                  .completions_per_prompt = kCompletions,
                                  .vocab_size = kVocab,
                                  .min_format_reward = -2,
                                  .max_turns = 4};
    TrajectoryGroup bounded = group;
    for (Completion& completion : bounded.completions) {  // the fake model's are no probabilities
      for (float& logprob : completion.logprobs) logprob = std::min(0.0f, std::max(logprob, -100.0f));
      for (float& entropy : completion.entropy) entropy = std::min(entropy, 1.0f);
    }
    EXPECT_TRUE(ValidateGroup(bounded, limits).ok()) << ValidateGroup(bounded, limits);
    for (size_t c = 0; c < group.completions.size(); ++c) {
      const Completion& completion = group.completions[c];
      ASSERT_FALSE(completion.turns.empty());
      std::vector<TokenId> tokens = group.prompt_token_ids;
      size_t turn = 0;
      for (size_t t = 0; t < completion.token_ids.size(); ++t) {
        const Turn& now = completion.turns[turn];
        if (static_cast<int>(t) >= now.start_token) {
          ops::SamplingParams params;
          params.uniform = UniformDouble(TokenDraw(77, group.prompt_id, static_cast<uint32_t>(c),
                                                   static_cast<uint32_t>(t), DrawPurpose::kSampling));
          const ops::SampledToken drawn = FakeDraw(tokens, params, -1, kVocab, 0);
          EXPECT_EQ(completion.token_ids[t], drawn.token);
          EXPECT_EQ(completion.logprobs[t], drawn.logprob);
          if (static_cast<int>(t) + 1 == now.start_token + now.num_tokens) ++turn;
        } else {
          EXPECT_EQ(completion.logprobs[t], 0);
          EXPECT_EQ(completion.credit[t], 0);
        }
        tokens.push_back(completion.token_ids[t]);
      }
      EXPECT_EQ(turn, completion.turns.size());
      EXPECT_EQ(completion.reward.total,
                0.25 * static_cast<double>(completion.turns.size() - 1) + completion.turns.back().reward);
      EXPECT_EQ(completion.reward.correct, 0);
      EXPECT_EQ(completion.reward.reason, "told");
      turns_ += static_cast<int>(completion.turns.size());
    }
  }
  static void ExpectBooksBalance(const ActorStats& stats) {
    EXPECT_EQ(stats.groups_leased,
              stats.groups_submitted + stats.groups_unscored + stats.groups_expired + stats.groups_refused);
    EXPECT_EQ(stats.open_groups, 0);
    EXPECT_EQ(stats.unfinished_completions, 0);
    EXPECT_EQ(stats.waiting_turns, 0);
    EXPECT_EQ(stats.engine.free_pages, stats.engine.num_pages);
  }

  std::function<grpc::Status(grpc::ServerContext&, const v1::Opening&, const v1::Turn&, v1::ConverseReply&)> say =
      [](grpc::ServerContext&, const v1::Opening&, const v1::Turn& turn, v1::ConverseReply& reply) {
        if (turn.number() % 2 == 0) {
          reply.set_text(absl::StrCat(turn.token_ids_size(), " 8 7"));
        } else {
          v1::Message& message = *reply.add_messages();
          message.set_role("tool");
          message.set_content(absl::StrCat("4 ", turn.token_ids_size()));
        }
        return grpc::Status::OK;
      };
  std::atomic<int> stops_{0};
  int turns_ = 0;
  std::atomic<bool> stop_{false};
  ActorSettings settings_ = MakeActorSettings(&stop_);
  FakeWeights weights_;
  NumberTokenizer tokenizer_;
  NumberTemplate template_;
  const TurnEncoder encoder_{&tokenizer_, &template_, kVocab};
  CreditAssigner credit_ = *CreditAssigner::FromOverrides({"credit.strategy=ENTROPY"});
  FakeServer server_;
  std::unique_ptr<Episodes> episodes_;
};

TEST_F(ActorConversationTest, HandsInWhatWasSaidByWhom) {
  for (const int pages : {100, 12}) {
    SCOPED_TRACE(pages);
    turns_ = 0;
    FakePort port(9);
    weights_.Reopen();
    const std::unique_ptr<Actor> actor = MakeActor(port, pages);
    ASSERT_TRUE(actor->Run().ok());
    ASSERT_EQ(port.groups.size(), 9u);
    for (const auto& [id, group] : port.groups) ExpectConversations(group);
    EXPECT_GT(turns_, 2 * 9 * kCompletions);
    ExpectBooksBalance(actor->stats());
    EXPECT_EQ(actor->stats().groups_unscored, 0);
  }
}

// As those to train on, but that none of the model's tokens has another weight than 1; and the learner takes them.
TEST_F(ActorConversationTest, HeldOutPromptsAreConversationsToo) {
  credit_ = *CreditAssigner::FromOverrides({"credit.strategy=LOCAL_CHUNK", "credit.audit_share=1"});
  FakePort port(5);
  for (PromptLease& lease : port.waiting) {
    lease.lease_id |= kEvaluationLease;
    lease.evaluation = EvaluationSampling{};
  }
  const std::unique_ptr<Actor> actor = MakeActor(port);
  ASSERT_TRUE(actor->Run().ok());
  ASSERT_EQ(port.groups.size(), 5u);
  for (const auto& [id, group] : port.groups) {
    ExpectConversations(group);
    for (const Completion& completion : group.completions) {
      EXPECT_FALSE(completion.rhythm.has_value());
      double weights = 0;
      for (const float weight : completion.credit) weights += weight;
      EXPECT_EQ(weights, SampledTokens(completion));
    }
    TrajectoryGroup bounded = group;
    for (Completion& completion : bounded.completions) {
      for (float& logprob : completion.logprobs) logprob = std::min(0.0f, std::max(logprob, -100.0f));
      for (float& entropy : completion.entropy) entropy = std::min(entropy, 1.0f);
    }
    const TrajectoryLimits limits{.max_prompt_tokens = 100,
                                  .max_completion_tokens = kLongest,
                                  .completions_per_prompt = 1,
                                  .vocab_size = kVocab,
                                  .min_format_reward = -2,
                                  .max_turns = 4};
    const absl::Status valid = ValidateGroup(bounded, EvaluationLimits(limits, kCompletions));
    EXPECT_TRUE(valid.ok()) << valid;
  }
  EXPECT_GT(turns_, 2 * 5 * kCompletions);
  EXPECT_EQ(actor->stats().answers_measured, 5 * kCompletions);
  EXPECT_EQ(actor->stats().groups_submitted, 0);
}

// In row t the fake model's local head, which is head 0, has a WAAD of t % 4, t counting all tokens: so Delta is 3
// where a row of 3 has its successor in the turn, 1 elsewhere in a turn, and 0 at the end of one.
TEST_F(ActorConversationTest, CreditFromAttentionIsOfTheModelsTokens) {
  for (const bool normalize : {false, true}) {
    credit_ = *CreditAssigner::FromOverrides({"credit.strategy=LOCAL_CHUNK", "credit.audit_share=1",
                                              absl::StrCat("credit.normalize=", normalize ? "true" : "false")});
    turns_ = 0;
    FakePort port(6);
    weights_.Reopen();
    const std::unique_ptr<Actor> actor = MakeActor(port, 16);
    ASSERT_TRUE(actor->Run().ok());
    ASSERT_EQ(port.groups.size(), 6u);
    for (const auto& [id, group] : port.groups) {
      ExpectConversations(group);  // the environment's have a credit of exactly 0
      for (const Completion& completion : group.completions) {
        ASSERT_TRUE(completion.rhythm.has_value());
        std::vector<double> delta(completion.token_ids.size(), -1);
        size_t sampled = 0;
        for (const Turn& turn : completion.turns) {
          for (int t = turn.start_token; t < turn.start_token + turn.num_tokens; ++t, ++sampled) {
            EXPECT_EQ(completion.rhythm->waad[t], t % 4);
            delta[t] = t + 1 == turn.start_token + turn.num_tokens ? 0 : t % 4 == 3 ? 3 : 1;
          }
        }
        const size_t chosen = std::max<size_t>(1, 2 * sampled / 5);
        const float mean = normalize ? 1 + 0.5F * static_cast<float>(chosen) / static_cast<float>(sampled) : 1;
        for (size_t t = 0; t < delta.size(); ++t) {
          size_t ahead = 0;
          for (size_t u = 0; u < delta.size(); ++u) ahead += delta[u] > delta[t] || (delta[u] == delta[t] && u < t);
          if (delta[t] < 0) {
            EXPECT_EQ(completion.credit[t], 0.0F) << t;
            EXPECT_EQ(completion.rhythm->waad[t], 0) << t;
            EXPECT_EQ(completion.rhythm->fai[t], 0) << t;
          } else {
            EXPECT_FLOAT_EQ(completion.credit[t], (ahead < chosen ? 1.5F : 1.0F) / mean) << t;
          }
        }
      }
    }
    EXPECT_GT(turns_, 2 * 6 * kCompletions);
    EXPECT_EQ(actor->stats().engine.final_rows, turns_);
    ExpectBooksBalance(actor->stats());
  }
}

TEST_F(ActorConversationTest, ATemplatesEndOfATurnStandsThereOnce) {
  FakePort port(6);
  const std::unique_ptr<Actor> actor = MakeActor(port);
  ASSERT_TRUE(actor->Run().ok());
  int said = 0, added = 0;
  for (const auto& [id, group] : port.groups) {
    for (const Completion& completion : group.completions) {
      if (completion.turns.size() < 2) continue;
      const TokenId last = completion.token_ids[static_cast<size_t>(completion.turns[0].num_tokens) - 1];
      const std::vector<TokenId> between(completion.token_ids.begin() + completion.turns[0].num_tokens,
                                         completion.token_ids.begin() + completion.turns[1].start_token);
      std::vector<TokenId> want = {4, 4, completion.turns[0].num_tokens, 30};
      if (last == 4) want.erase(want.begin());  // of two the content's stays
      EXPECT_EQ(between, want);
      ++(last == 4 ? said : added);
    }
  }
  EXPECT_GT(said, 0);
  EXPECT_GT(added, 0);
}

TEST_F(ActorConversationTest, WordsWithoutRoomEndTheAnswer) {
  say = [](grpc::ServerContext&, const v1::Opening&, const v1::Turn&, v1::ConverseReply& reply) {
    std::string text;
    for (int i = 0; i < kLongest; ++i) text += "8 ";
    reply.set_text(text);
    return grpc::Status::OK;
  };
  FakePort port(3);
  const std::unique_ptr<Actor> actor = MakeActor(port);
  ASSERT_TRUE(actor->Run().ok());
  ASSERT_EQ(port.groups.size(), 3u);
  for (const auto& [id, group] : port.groups) {
    for (const Completion& completion : group.completions) {
      EXPECT_EQ(completion.turns.size(), 1u);
      EXPECT_EQ(completion.finish_reason, FinishReason::kLength) << "cut off by the limit of tokens";
      EXPECT_EQ(completion.reward.total, 0.75);
    }
  }
  EXPECT_EQ(stops_, 3 * kCompletions);
}

// Each of these is a reward of 0 where an actor is careless.
TEST_F(ActorConversationTest, AConversationThatFailsDropsItsGroupAndNoOther) {
  const std::vector<std::pair<const char*, decltype(say)>> faults = {
      {"breaks off", [](auto&, auto&, auto&, auto&) { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "killed"); }},
      {"a template's refusal",
       [](auto&, auto&, auto&, auto& reply) {
         reply.add_messages()->set_role("critic");
         return grpc::Status::OK;
       }},
      {"an unknown token",
       [](auto&, auto&, auto&, auto& reply) {
         reply.set_text("50");
         return grpc::Status::OK;
       }},
      {"no token",
       [](auto&, auto&, auto&, auto& reply) {
         reply.set_text(" ");
         return grpc::Status::OK;
       }},
      {"too much reward",
       [](auto&, auto&, auto&, auto& reply) {
         reply.set_text("8");
         reply.add_parts()->set_value(1e6 - 0.25);  // with the quarter as much as may be; with the first turn's more
         return grpc::Status::OK;
       }},
      {"a hang",
       [](auto& context, auto&, auto&, auto&) {
         while (!context.IsCancelled()) absl::SleepFor(absl::Milliseconds(2));
         return grpc::Status(grpc::StatusCode::CANCELLED, "");
       }},
  };
  const auto well = say;
  for (const auto& [name, fault] : faults) {
    SCOPED_TRACE(name);
    say = [&well, &fault = fault](grpc::ServerContext& context, const v1::Opening& opening, const v1::Turn& turn,
                                  v1::ConverseReply& reply) {
      const bool ill = opening.prompt_number() == 10 && opening.completion() == 1 && turn.number() == 2;
      return (ill ? fault : well)(context, opening, turn, reply);
    };
    FakePort port(5);
    port.finish_when_empty = false;
    port.after_submit = [&](const TrajectoryGroup&) { stop_ = port.groups.size() == 4; };
    stop_ = false;
    weights_.Reopen();
    const std::unique_ptr<Actor> actor = MakeActor(port, 60, absl::Seconds(1));
    EXPECT_TRUE(actor->Run().ok());
    EXPECT_EQ(port.groups.size(), 4u);
    EXPECT_EQ(port.groups.count(2), 0u) << "a group with a conversation that failed was handed in";
    for (const auto& [id, group] : port.groups) ExpectConversations(group);
    EXPECT_EQ(actor->stats().groups_unscored, 1);
    ExpectBooksBalance(actor->stats());
  }
}

TEST_F(ActorConversationTest, AConversationThatFailsOnceIsHeldAgainFromItsPrompt) {
  const auto well = say;
  std::atomic<int> failures{0};
  say = [&](grpc::ServerContext& context, const v1::Opening& opening, const v1::Turn& turn, v1::ConverseReply& reply) {
    if (opening.prompt_number() == 10 && turn.number() == 2 && ++failures <= 2) {
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "killed");
    }
    return well(context, opening, turn, reply);
  };
  FakePort port(4);
  const std::unique_ptr<Actor> actor = MakeActor(port);
  ASSERT_TRUE(actor->Run().ok());
  ASSERT_EQ(port.groups.size(), 4u);
  for (const auto& [id, group] : port.groups) ExpectConversations(group);
  EXPECT_GE(failures, 2);
  EXPECT_EQ(actor->stats().groups_unscored, 0);
  ExpectBooksBalance(actor->stats());
}

TEST_F(ActorConversationTest, OthersGoOnAndLeasesAreKeptWhileOneWaits) {
  std::atomic<bool> release{false};
  const auto well = say;
  say = [&](grpc::ServerContext& context, const v1::Opening& opening, const v1::Turn& turn, v1::ConverseReply& reply) {
    while (opening.prompt_number() == 5 && !release && !context.IsCancelled()) absl::SleepFor(absl::Milliseconds(2));
    return well(context, opening, turn, reply);
  };
  FakePort port(8);
  int renewals = 0;
  port.after_submit = [&](const TrajectoryGroup&) {
    if (port.groups.size() < 7) return;
    renewals = port.renewals[1];
    release = true;
  };
  const std::unique_ptr<Actor> actor = MakeActor(port);
  ASSERT_TRUE(actor->Run().ok());
  EXPECT_EQ(port.groups.size(), 8u) << "the other seven were handed in while the first one waited";
  EXPECT_GT(renewals, 0);
  ExpectBooksBalance(actor->stats());
}

TEST_F(ActorConversationTest, ALeaseThatEndsWhileItWaitsIsForgotten) {
  std::atomic<int> cancelled{0};
  const auto well = say;
  say = [&](grpc::ServerContext& context, const v1::Opening& opening, const v1::Turn& turn, v1::ConverseReply& reply) {
    if (opening.prompt_number() != 5) return well(context, opening, turn, reply);
    while (!context.IsCancelled()) absl::SleepFor(absl::Milliseconds(2));
    ++cancelled;
    return grpc::Status(grpc::StatusCode::CANCELLED, "");
  };
  FakePort port(4);
  port.after_submit = [&](const TrajectoryGroup&) {
    if (port.groups.size() == 3) port.ended.insert(1);
  };
  const std::unique_ptr<Actor> actor = MakeActor(port);
  ASSERT_TRUE(actor->Run().ok());
  EXPECT_EQ(port.groups.size(), 3u);
  EXPECT_EQ(actor->stats().groups_expired, 1);
  ExpectBooksBalance(actor->stats());
  Eventually([&] { return cancelled == kCompletions; });
}

TEST_F(ActorConversationTest, AStopWaitsForConversationsWithinItsGrace) {
  const auto well = say;
  say = [&](grpc::ServerContext& context, const v1::Opening& opening, const v1::Turn& turn, v1::ConverseReply& reply) {
    stop_ = true;  // while the first turn waits for this
    absl::SleepFor(absl::Milliseconds(20));
    return well(context, opening, turn, reply);
  };
  FakePort port(2);
  port.finish_when_empty = false;
  const std::unique_ptr<Actor> actor = MakeActor(port);
  ASSERT_TRUE(actor->Run().ok());
  EXPECT_EQ(static_cast<int64_t>(port.groups.size()), actor->stats().groups_leased) << "what was begun is handed in";
  EXPECT_GT(port.groups.size(), 0u);
  ExpectBooksBalance(actor->stats());
}

}  // namespace
}  // namespace tactus
