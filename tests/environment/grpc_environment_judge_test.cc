// Rewards by a server that works, is killed, hangs, and answers what it should not.
#include <grpcpp/generic/async_generic_service.h>

#include <limits>
#include <thread>

#include "common/base/monotonic_clock.h"
#include "tests/environment/grpc_fake_server.h"

namespace tactus {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class EnvironmentJudgeTest : public ::testing::Test {
 protected:
  std::unique_ptr<EnvironmentJudge> MakeJudge(int port, absl::Duration call_timeout = kLong) {
    absl::StatusOr<std::unique_ptr<EnvironmentClient>> client =
        EnvironmentClient::Create({"127.0.0.1", port}, {"", "", "", true});
    EXPECT_TRUE(client.ok()) << client.status();
    return std::make_unique<EnvironmentJudge>(
        *std::move(client),
        EnvironmentJudge::Options{.call_timeout = call_timeout, .calls_at_once = 4, .metrics = &metrics_});
  }
  static absl::StatusOr<std::vector<Reward>> Score(Judge& judge, const std::vector<std::string>& texts,
                                                   absl::Duration patience = kLong) {
    std::vector<Answer> answers;
    for (const std::string& text : texts) answers.push_back({.text = text, .token_ids = {}});
    return judge.Score({.text = "Q", .token_ids = {}, .answer_key = "key"}, answers, MonotonicNow() + patience);
  }
  // How many calls ended so.
  double Calls(const std::string& outcome) const {
    const std::string text = metrics_.Text();
    const std::string series = absl::StrCat("tactus_environment_calls_total{outcome=\"", outcome, "\"} ");
    const size_t at = text.find(series);
    return at == std::string::npos ? -1 : std::atof(text.c_str() + at + series.size());
  }
  // That a server which always fails gives no rewards, and how that is counted and named.
  void ExpectNone(FakeServer& server, const std::string& outcome, const std::string& sentence) {
    const std::unique_ptr<EnvironmentJudge> judge = MakeJudge(server.port(), absl::Milliseconds(500));
    const absl::StatusOr<std::vector<Reward>> none = Score(*judge, {"four"}, absl::Milliseconds(1200));
    EXPECT_EQ(none.status().code(), absl::StatusCode::kUnavailable) << none.status();
    EXPECT_THAT(std::string(none.status().message()), AllOf(HasSubstr("no reward in time"), HasSubstr(sentence)));
    EXPECT_THAT(judge->Trouble(), HasSubstr(sentence));
    EXPECT_GE(Calls(outcome), 1) << outcome;
    EXPECT_EQ(Calls("ok"), 0);
  }

  MetricSet metrics_{{.role = ProcessRole::kActor, .task = "t", .run_id = "r"}};
};

TEST_F(EnvironmentJudgeTest, GivesTheServersRewards) {
  FakeServer server;
  server.Start();
  const std::unique_ptr<EnvironmentJudge> judge = MakeJudge(server.port());
  const std::vector<Reward> rewards = Score(*judge, {"four", "", "seven77"}).value();
  ASSERT_EQ(rewards.size(), 3u);
  EXPECT_EQ(rewards[0].total, 4);
  EXPECT_EQ(rewards[0].correct, 1);
  EXPECT_EQ(rewards[1].total, 0);
  EXPECT_EQ(rewards[2].total, 7);
  EXPECT_EQ(rewards[2].correct, 0);
  EXPECT_EQ(judge->Trouble(), "");
  EXPECT_EQ(Calls("ok"), 1);
}

// Each of these is a reward of 0 where a caller is careless.
TEST_F(EnvironmentJudgeTest, NothingThatGoesWrongIsAReward) {
  struct Case {
    const char* outcome;
    const char* sentence;
    std::function<grpc::Status(grpc::ServerContext&, v1::ScoreReply*)> answer;
  };
  const Case cases[] = {
      {"failed", "Score failed there, UNKNOWN: TypeError: 'str' object",
       [](auto&, auto*) { return grpc::Status(grpc::StatusCode::UNKNOWN, "TypeError: 'str' object"); }},
      {"failed", "INVALID_ARGUMENT",
       [](auto&, auto*) { return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no"); }},
      {"bad_reply", "it has 0 scores", [](auto&, auto*) { return grpc::Status::OK; }},
      {"bad_reply", "is nan; expected a finite number",
       [](auto&, v1::ScoreReply* reply) {
         v1::Score& score = *reply->add_scores();
         score.set_verdict(v1::PASS);
         score.add_parts()->set_value(std::numeric_limits<double>::quiet_NaN());
         return grpc::Status::OK;
       }},
      {"too_large", "larger than 2097152 bytes",
       [](auto&, v1::ScoreReply* reply) {
         reply->add_scores()->set_reason(std::string(10 << 20, 'x'));
         return grpc::Status::OK;
       }},
      {"timed_out", "did not answer Score within",
       [](grpc::ServerContext& context, auto*) {
         Eventually([&] { return context.IsCancelled(); });
         return grpc::Status::OK;
       }},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.sentence);
    FakeServer server;
    server.score = [&](int, grpc::ServerContext& context, const v1::ScoreRequest&, v1::ScoreReply* reply) {
      return one.answer(context, reply);
    };
    server.Start();
    ExpectNone(server, one.outcome, one.sentence);
    EXPECT_GE(server.calls, 1);
  }
}

// Another service at the address, that knows no health checks and answers any call with bytes that are no ScoreReply.
TEST_F(EnvironmentJudgeTest, AnAnswerOfAnotherTypeIsNoReward) {
  class AnyCall final : public grpc::CallbackGenericService {
    grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
      class Reactor final : public grpc::ServerGenericBidiReactor {
       public:
        explicit Reactor(bool known) {
          if (known) {
            StartRead(&request_);
          } else {
            Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, ""));
          }
        }
        void OnReadDone(bool ok) override {
          if (!ok) return;
          const grpc::Slice slice("\xff\xff\xff no message");
          reply_ = grpc::ByteBuffer(&slice, 1);
          StartWriteAndFinish(&reply_, grpc::WriteOptions(), grpc::Status::OK);
        }
        void OnDone() override { delete this; }

       private:
        grpc::ByteBuffer request_, reply_;
      };
      return new Reactor(context->method() != "/grpc.health.v1.Health/Watch");
    }
  } any;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&any);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  const std::unique_ptr<EnvironmentJudge> judge = MakeJudge(port);
  const absl::StatusOr<std::vector<Reward>> none = Score(*judge, {"x"}, absl::Milliseconds(500));
  EXPECT_EQ(none.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_GE(Calls("bad_reply"), 1) << none.status();
  EXPECT_EQ(Calls("ok"), 0);
  server->Shutdown(absl::ToChronoTime(absl::Now()));
}

TEST_F(EnvironmentJudgeTest, GoesOnWhenTheServerIsBack) {
  auto server = std::make_unique<FakeServer>();
  server->Start();
  const int port = server->port();
  const std::unique_ptr<EnvironmentJudge> judge = MakeJudge(port);
  ASSERT_TRUE(Score(*judge, {"x"}).ok());
  server.reset();
  absl::StatusOr<std::vector<Reward>> rewards = absl::UnknownError("not asked yet");
  std::thread waiting([&] { rewards = Score(*judge, {"four"}); });
  Eventually([&] { return Calls("unreachable") >= 2; });
  EXPECT_THAT(judge->Trouble(), HasSubstr(absl::StrCat("environment 127.0.0.1:", port, " cannot be reached")));
  server = std::make_unique<FakeServer>();
  server->Start("127.0.0.1", port);
  waiting.join();
  ASSERT_TRUE(rewards.ok()) << rewards.status();
  EXPECT_EQ((*rewards)[0].total, 4);
  EXPECT_EQ(judge->Trouble(), "");
}

TEST_F(EnvironmentJudgeTest, AFailureIsRepeatedAndItsSuccessorCounts) {
  FakeServer server;
  server.score = [](int call, grpc::ServerContext&, const v1::ScoreRequest& request, v1::ScoreReply* reply) {
    if (call < 4) return grpc::Status(grpc::StatusCode::INTERNAL, "not yet");
    ScoreByLength(request, reply);
    return grpc::Status::OK;
  };
  server.Start();
  const std::unique_ptr<EnvironmentJudge> judge = MakeJudge(server.port());
  EXPECT_EQ(Score(*judge, {"four"}).value()[0].total, 4);
  EXPECT_EQ(Calls("failed"), 3);
  EXPECT_EQ(Calls("ok"), 1);
}

TEST_F(EnvironmentJudgeTest, CloseEndsACallAndAPause) {
  FakeServer server;
  server.score = [](int, grpc::ServerContext& context, const v1::ScoreRequest&, v1::ScoreReply*) {
    Eventually([&] { return context.IsCancelled(); });
    return grpc::Status::OK;
  };
  server.Start();
  const std::unique_ptr<EnvironmentJudge> hanging = MakeJudge(server.port(), absl::Hours(1));
  std::thread closer([&] {
    Eventually([&] { return server.calls > 0; });
    hanging->Close();
  });
  EXPECT_EQ(Score(*hanging, {"x"}, absl::Hours(1)).status().code(), absl::StatusCode::kCancelled);
  closer.join();
  EXPECT_EQ(Score(*hanging, {"x"}, absl::Hours(1)).status().code(), absl::StatusCode::kCancelled);

  const std::unique_ptr<EnvironmentJudge> away = MakeJudge(1);  // nobody listens at port 1
  std::thread late([&] {
    Eventually([&] { return Calls("unreachable") >= 1; });
    away->Close();
  });
  EXPECT_EQ(Score(*away, {"x"}, absl::Hours(1)).status().code(), absl::StatusCode::kCancelled);
  late.join();
}

}  // namespace
}  // namespace tactus
