// Conversations with a server that works, is killed, hangs, and answers what it should not.
#include "common/environment/grpc_episodes.h"

#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "common/base/monotonic_clock.h"
#include "tests/environment/grpc_fake_server.h"

namespace tactus {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr EpisodeId kOne{7, 2};
const std::vector<TokenId> kPrompt = {1, 2};
const std::vector<TokenId> kSaid = {5, 6};

EpisodeOpening Opening() {
  return {.question = {.text = "Q", .token_ids = kPrompt, .answer_key = "key"},
          .run_seed = 11,
          .prompt_number = 12,
          .completion = 2,
          .max_turns = 4,
          .max_tokens = 100,
          .max_turn_tokens = 20,
          .reply_timeout = absl::Seconds(3)};
}

EpisodeTurn Turn(int number, const std::string& text, EpisodeLimit last = EpisodeLimit::kNone) {
  return {.number = number, .answer = {.text = text, .token_ids = kSaid}, .last = last, .tokens_left = 50};
}

void ExpectOpening(const v1::Opening& opened) {
  EXPECT_EQ(opened.prompt(), "Q");
  EXPECT_THAT(opened.prompt_token_ids(), ElementsAre(1, 2));
  EXPECT_EQ(opened.answer_key(), "key");
  EXPECT_EQ(opened.run_seed(), 11u);
  EXPECT_EQ(opened.prompt_number(), 12u);
  EXPECT_EQ(opened.completion(), 2u);
  EXPECT_EQ(opened.max_turns(), 4u);
  EXPECT_EQ(opened.max_tokens(), 100u);
  EXPECT_EQ(opened.max_turn_tokens(), 20u);
  EXPECT_EQ(opened.reply_timeout_s(), 3);
}

// Says one thing, then waits for the actor.
std::function<grpc::Status(FakeServer::Stream&)> With(v1::ConverseReply reply,
                                                      const std::function<void(v1::ConverseReply&)>& change = nullptr) {
  if (change != nullptr) change(reply);
  return [reply](FakeServer::Stream& stream) {
    stream.Write(reply);
    v1::ConverseRequest request;
    stream.Read(&request);
    return grpc::Status::OK;
  };
}

class EpisodesTest : public ::testing::Test {
 protected:
  void Connect(int port, absl::Duration reply_timeout = kLong, int calls_at_once = 8) {
    auto made =
        Episodes::Create({"127.0.0.1", port}, {"", "", "", true},
                         {.reply_timeout = reply_timeout, .calls_at_once = calls_at_once, .metrics = &metrics_});
    ASSERT_TRUE(made.ok()) << made.status();
    episodes_ = *std::move(made);
    episodes_->Watch([this] { ++notified_; });
  }
  // The next event of the episode, which must come.
  absl::StatusOr<EpisodeReply> Next(EpisodeId id = kOne) {
    const absl::Time deadline = MonotonicNow() + kLong;
    while (MonotonicNow() < deadline) {
      for (Episodes::Event& event : episodes_->Poll()) events_.emplace(event.id, std::move(event.reply));
      const auto found = events_.find(id);
      if (found == events_.end()) {
        absl::SleepFor(absl::Milliseconds(2));
        continue;
      }
      absl::StatusOr<EpisodeReply> reply = std::move(found->second);
      events_.erase(found);
      return reply;
    }
    ADD_FAILURE() << "no event came";
    return absl::InternalError("none");
  }
  double Calls(const std::string& outcome) const {
    const std::string text = metrics_.Text();
    const std::string series = absl::StrCat("tactus_environment_calls_total{outcome=\"", outcome, "\"} ");
    const size_t at = text.find(series);
    return at == std::string::npos ? 0 : std::atof(text.c_str() + at + series.size());
  }

  MetricSet metrics_{{.role = ProcessRole::kActor, .task = "t", .run_id = "r"}};
  std::atomic<int> notified_{0};
  FakeServer server_;
  std::multimap<EpisodeId, absl::StatusOr<EpisodeReply>> events_;
  std::unique_ptr<Episodes> episodes_;
};

TEST_F(EpisodesTest, TurnsAndRepliesTakeTurns) {
  absl::Mutex mutex;
  std::vector<v1::ConverseRequest> heard;
  std::optional<v1::Opening> opened;
  std::atomic<bool> half_closed{false};
  server_.converse = [&](int, grpc::ServerContext&, const v1::Opening& opening, FakeServer::Stream& stream) {
    absl::MutexLock lock(&mutex);
    opened = opening;
    v1::ConverseRequest request;
    stream.Read(&request);
    heard.push_back(request);
    v1::ConverseReply reply;
    v1::Message& message = *reply.add_messages();
    message.set_role("tool");
    message.set_content("12");
    message.set_name("calculator");
    v1::RewardPart& part = *reply.add_parts();
    part.set_value(0.25);
    stream.Write(reply);
    stream.Read(&request);
    heard.push_back(request);
    stream.Write(TextReply("more"));
    stream.Read(&request);
    heard.push_back(request);
    v1::ConverseReply done = DoneReply(1.5);
    (*done.mutable_metrics())["tries"] = 2;
    stream.Write(done);
    half_closed = !stream.Read(&request);
    return grpc::Status::OK;
  };
  server_.Start();
  Connect(server_.port());
  episodes_->Begin(kOne, Opening(), kLong);
  episodes_->Say(kOne, Turn(1, "3*4"));
  EpisodeReply reply = Next().value();
  ASSERT_EQ(reply.messages.size(), 1u);
  EXPECT_EQ(reply.messages[0].role, "tool");
  EXPECT_EQ(reply.messages[0].content, "12");
  EXPECT_EQ(reply.messages[0].name, "calculator");
  EXPECT_EQ(reply.reward, 0.25);
  EXPECT_FALSE(reply.done);
  episodes_->Say(kOne, Turn(2, "It is 12.", EpisodeLimit::kNone));
  reply = Next().value();
  EXPECT_EQ(reply.text, "more");
  EXPECT_EQ(reply.reward, 0);
  episodes_->Stop(kOne, EpisodeLimit::kTokens);
  reply = Next().value();
  EXPECT_TRUE(reply.done);
  EXPECT_TRUE(reply.correct);
  EXPECT_EQ(reply.reward, 1.5);
  EXPECT_EQ(reply.reason, "told");
  Eventually([&] { return half_closed.load(); });
  absl::MutexLock lock(&mutex);
  ExpectOpening(*opened);
  ASSERT_EQ(heard.size(), 3u);
  EXPECT_EQ(heard[0].turn().number(), 1u);
  EXPECT_EQ(heard[0].turn().text(), "3*4");
  EXPECT_THAT(heard[0].turn().token_ids(), ElementsAre(5, 6));
  EXPECT_EQ(heard[0].turn().last(), v1::LIMIT_UNSPECIFIED);
  EXPECT_EQ(heard[0].turn().tokens_left(), 50u);
  EXPECT_EQ(heard[2].stop().limit(), v1::LIMIT_TOKENS);
  EXPECT_EQ(Calls("ok"), 3);
  Eventually([&] { return notified_ >= 3; });  // a reply may be polled before it is announced
  EXPECT_EQ(server_.calls, 1);
}

// Each of these is a reward of 0 where a caller is careless.
TEST_F(EpisodesTest, NothingThatGoesWrongIsAReward) {
  struct Case {
    const char* name;
    std::function<grpc::Status(FakeServer::Stream&)> answer;
    absl::StatusCode code;
    const char* outcome;
    const char* sentence;
    EpisodeLimit last = EpisodeLimit::kNone;
  };
  const absl::StatusCode bad = absl::StatusCode::kDataLoss;
  const std::vector<Case> cases = {
      {"no verdict", With(DoneReply(1), [](auto& r) { r.clear_verdict(); }), bad, "bad_reply", "has the verdict 0"},
      {"no part", With(DoneReply(1), [](auto& r) { r.clear_parts(); }), bad, "bad_reply",
       "has 0 reward parts; expected 1"},
      {"no value", With(DoneReply(1), [](auto& r) { r.mutable_parts(0)->clear_value(); }), bad, "bad_reply",
       "has no value"},
      {"NaN", With(DoneReply(std::numeric_limits<double>::quiet_NaN())), bad, "bad_reply", "expected a finite number"},
      {"too much", With(DoneReply(2e6)), bad, "bad_reply", "from -1e+06 to 1e+06"},
      {"done and text", With(DoneReply(1), [](auto& r) { r.set_text("x"); }), bad, "bad_reply",
       "messages or text besides"},
      {"nothing", With(v1::ConverseReply()), bad, "bad_reply", "neither messages nor text"},
      {"an assistant", With(TextReply(""), [](auto& r) { r.add_messages()->set_role("assistant"); }), bad, "bad_reply",
       "role \"assistant\""},
      {"no role", With(TextReply(""), [](auto& r) { r.add_messages()->set_content("c"); }), bad, "bad_reply",
       "role \"\""},
      {"a verdict too early", With(TextReply("x"), [](auto& r) { r.set_verdict(v1::PASS); }), bad, "bad_reply",
       "without done"},
      {"a metric that is none", With(DoneReply(1), [](auto& r) { (*r.mutable_metrics())["m"] = HUGE_VAL; }), bad,
       "bad_reply", "metric \"m\" is inf"},
      {"goes on past a limit", With(TextReply("x")), bad, "bad_reply", "expected done", EpisodeLimit::kTurns},
      {"ends early", [](FakeServer::Stream&) { return grpc::Status::OK; }, bad, "bad_reply",
       "ended before a reply with done"},
      {"an exception", [](FakeServer::Stream&) { return grpc::Status(grpc::StatusCode::UNKNOWN, "KeyError: 'x'"); },
       absl::StatusCode::kInternal, "failed", "KeyError: 'x'"},
      {"10 MB", With(TextReply(std::string(10 << 20, 'x'))), absl::StatusCode::kOutOfRange, "too_large",
       "is larger than"},
  };
  std::atomic<size_t> current{0};
  server_.converse = [&](int, grpc::ServerContext&, const v1::Opening&, FakeServer::Stream& stream) {
    v1::ConverseRequest request;
    stream.Read(&request);
    return cases[current].answer(stream);
  };
  server_.Start();
  Connect(server_.port());
  std::map<std::string, int> outcomes;
  for (; current < cases.size(); ++current) {
    const Case& one = cases[current];
    SCOPED_TRACE(one.name);
    episodes_->Begin(kOne, Opening(), absl::ZeroDuration());
    episodes_->Say(kOne, Turn(1, "t", one.last));
    const absl::StatusOr<EpisodeReply> reply = Next();
    EXPECT_EQ(reply.status().code(), one.code) << reply.status();
    EXPECT_THAT(std::string(reply.status().message()),
                AllOf(HasSubstr("environment 127.0.0.1"), HasSubstr(one.sentence)));
    EXPECT_THAT(episodes_->Trouble(), HasSubstr(one.sentence));
    EXPECT_EQ(Calls(one.outcome), ++outcomes[one.outcome]);
  }
  EXPECT_EQ(Calls("ok"), 0);
}

TEST_F(EpisodesTest, AServerThatSaysNothingIsNotWaitedFor) {
  std::atomic<bool> cancelled{false};
  server_.converse = [&](int, grpc::ServerContext& context, const v1::Opening&, FakeServer::Stream& stream) {
    v1::ConverseRequest request;
    while (stream.Read(&request)) {
    }
    cancelled = context.IsCancelled();
    return grpc::Status::OK;
  };
  server_.Start();
  Connect(server_.port(), absl::Milliseconds(200));
  episodes_->Begin(kOne, Opening(), absl::ZeroDuration());
  episodes_->Say(kOne, Turn(1, "t"));
  const absl::StatusOr<EpisodeReply> reply = Next();
  EXPECT_EQ(reply.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(reply.status().message()), HasSubstr("did not answer Converse within 200ms"));
  EXPECT_EQ(Calls("timed_out"), 1);
  Eventually([&] { return cancelled.load(); });
}

TEST_F(EpisodesTest, TheFirstTurnIsRepeatedAndNoLaterOne) {
  std::atomic<bool> dies{false};
  server_.converse = [&](int call, grpc::ServerContext&, const v1::Opening&, FakeServer::Stream& stream) {
    v1::ConverseRequest request;
    stream.Read(&request);
    if (call < 3) return grpc::Status(grpc::StatusCode::INTERNAL, "not yet");
    stream.Write(TextReply("go on"));
    stream.Read(&request);
    dies = true;
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone");
  };
  server_.Start();
  Connect(server_.port());
  episodes_->Begin(kOne, Opening(), kLong);
  episodes_->Say(kOne, Turn(1, "t"));
  EXPECT_EQ(Next().value().text, "go on");
  EXPECT_EQ(server_.calls, 3);
  episodes_->Say(kOne, Turn(2, "t"));
  EXPECT_EQ(Next().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(dies);
  EXPECT_EQ(server_.calls, 3) << "what the server knew of the episode is lost";
  EXPECT_EQ(Calls("failed"), 2);
  EXPECT_EQ(Calls("unreachable"), 1);
}

TEST_F(EpisodesTest, BeginsWhenTheServerIsThere) {
  server_.converse = [&](int, grpc::ServerContext&, const v1::Opening&, FakeServer::Stream& stream) {
    v1::ConverseRequest request;
    stream.Read(&request);
    stream.Write(DoneReply(1));
    return grpc::Status::OK;
  };
  server_.Start();
  const int port = server_.port();
  server_.Stop();
  Connect(port);
  episodes_->Begin(kOne, Opening(), kLong);
  episodes_->Say(kOne, Turn(1, "t"));
  Eventually([&] { return episodes_->Poll().empty() && Calls("unreachable") >= 1; });
  server_.Start("127.0.0.1", port);
  EXPECT_EQ(Next().value().reward, 1);
  EXPECT_EQ(episodes_->Trouble(), "");
}

TEST_F(EpisodesTest, HoldsNoMoreCallsAtOnceThanItMay) {
  std::atomic<int> open{0}, most{0};
  server_.converse = [&](int, grpc::ServerContext&, const v1::Opening&, FakeServer::Stream& stream) {
    most = std::max<int>(most, ++open);
    v1::ConverseRequest request;
    stream.Read(&request);
    absl::SleepFor(absl::Milliseconds(5));
    --open;
    stream.Write(DoneReply(1));
    return grpc::Status::OK;
  };
  server_.Start();
  Connect(server_.port(), kLong, /*calls_at_once=*/2);
  for (int i = 0; i < 12; ++i) {
    episodes_->Begin({1, i}, Opening(), kLong);
    episodes_->Say({1, i}, Turn(1, "t"));
  }
  for (int i = 0; i < 12; ++i) EXPECT_TRUE(Next({1, i}).ok());
  EXPECT_LE(most, 2);
}

TEST_F(EpisodesTest, AForgottenEpisodeIsCancelledAndNotHeardOf) {
  std::atomic<int> cancelled{0};
  server_.converse = [&](int, grpc::ServerContext& context, const v1::Opening&, FakeServer::Stream& stream) {
    v1::ConverseRequest request;
    while (stream.Read(&request)) {
    }
    cancelled += context.IsCancelled() ? 1 : 0;
    return grpc::Status::OK;
  };
  server_.Start();
  Connect(server_.port());
  for (int i = 0; i < 2; ++i) {
    episodes_->Begin({1, i}, Opening(), kLong);
    episodes_->Say({1, i}, Turn(1, "t"));
  }
  Eventually([&] { return server_.calls == 2; });
  episodes_->Forget({1, 0});
  episodes_->Forget({9, 9});
  Eventually([&] { return cancelled == 1; });
  EXPECT_TRUE(episodes_->Poll().empty());
  episodes_->Close();
  Eventually([&] { return cancelled == 2; });
  EXPECT_TRUE(episodes_->Poll().empty());
  episodes_->Say({1, 1}, Turn(2, "t"));
  episodes_->Begin({2, 0}, Opening(), kLong);
  episodes_->Close();
}

// The last channel of a process is closed by who closes the episodes: in one of gRPC's threads it would be an abort.
TEST_F(EpisodesTest, NoCallOutlivesThem) {
  server_.converse = [](int, grpc::ServerContext&, const v1::Opening&, FakeServer::Stream&) {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "killed");
  };
  server_.Start();
  for (int i = 0; i < 200; ++i) {
    Connect(server_.port());
    episodes_->Begin(kOne, Opening(), absl::ZeroDuration());
    episodes_->Say(kOne, Turn(1, "t"));
    if (i % 2 == 0) {
      EXPECT_FALSE(Next().ok());
    }
    episodes_.reset();
  }
}

}  // namespace
}  // namespace tactus
