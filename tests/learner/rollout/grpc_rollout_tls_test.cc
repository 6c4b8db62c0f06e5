// Mutual TLS, with certificates made by the openssl command in the test's own folder.
#include <cstdlib>
#include <filesystem>

#include "tests/learner/rollout/rollout_fixture.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

struct TlsRollout : RolloutFixture {
  static void SetUpTestSuite() {
    have_openssl = std::system("openssl version >/dev/null 2>&1") == 0;
    if (!have_openssl) return;
    std::filesystem::remove_all(folder());
    std::filesystem::create_directories(folder());
    for (const char* authority : {"ours", "theirs"}) {
      Run(absl::StrCat("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=",
                       authority, " -keyout ", authority, "-ca.key -out ", authority, "-ca.pem"));
      Run(absl::StrCat("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=peer -keyout ",
                       authority, ".key -out ", authority, ".csr"));
      Run("printf 'subjectAltName=IP:127.0.0.1' > san.txt");
      Run(absl::StrCat("openssl x509 -req -days 2 -in ", authority, ".csr -CA ", authority, "-ca.pem -CAkey ",
                       authority, "-ca.key -CAcreateserial -extfile san.txt -out ", authority, ".pem"));
    }
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder()); }
  void SetUp() override {
    if (!have_openssl) GTEST_SKIP() << "the openssl command is not installed";
  }

  static std::string folder() { return ::testing::TempDir() + "/tls_rollout"; }
  static void Run(const std::string& command) {
    ASSERT_EQ(std::system(absl::StrCat("cd ", folder(), " && ", command, " 2>/dev/null").c_str()), 0) << command;
  }
  // Certificate and key of one authority, checking peers against another's.
  static ChannelSecurity Security(const std::string& of, const std::string& trusts) {
    return {folder() + "/" + of + ".pem", folder() + "/" + of + ".key", folder() + "/" + trusts + "-ca.pem", false};
  }
  absl::Status TryAttach(const ChannelSecurity& security, absl::Duration timeout) const {
    GrpcRolloutPortOptions options = ActorOptions("actor-1");
    options.security = security;
    return GrpcRolloutPort::Connect(options, timeout).status();
  }
  void StartTlsServer() {
    RolloutServerOptions options = ServerOptions();
    options.security = Security("ours", "ours");
    StartServer(options);
  }

  static inline bool have_openssl = false;
};

TEST_F(TlsRollout, KnownPeersMeet) {
  StartTlsServer();
  const absl::Status status = TryAttach(Security("ours", "ours"), kLong);
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(TlsRollout, StrangersAreRefused) {
  StartTlsServer();
  constexpr absl::Duration kTry = absl::Seconds(2);
  EXPECT_EQ(TryAttach(Security("theirs", "ours"), kTry).code(), absl::StatusCode::kUnavailable) << "unknown actor";
  EXPECT_EQ(TryAttach(Security("ours", "theirs"), kTry).code(), absl::StatusCode::kUnavailable) << "unknown learner";
  EXPECT_EQ(TryAttach({"", "", "", true}, kTry).code(), absl::StatusCode::kUnavailable) << "no TLS at all";
  EXPECT_EQ(server->AttachedActors(), 0);
}

TEST_F(TlsRollout, OptionsMustBeWhole) {
  const auto start = [](const ChannelSecurity& security) {
    RolloutServerOptions options = ServerOptions();
    options.security = security;
    return RolloutServer::Start(options, std::nullopt).status();
  };
  EXPECT_THAT(std::string(start({}).message()), HasSubstr("(0 of 3 are), or service.plaintext must be true"));
  ChannelSecurity security = Security("ours", "ours");
  security.tls_key_path.clear();
  EXPECT_THAT(std::string(start(security).message()), HasSubstr("(2 of 3 are)"));
  security = Security("ours", "ours");
  security.plaintext = true;
  EXPECT_THAT(std::string(start(security).message()), HasSubstr("choose one"));
  security = Security("missing", "ours");
  EXPECT_EQ(start(security).code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(start(security).message()), HasSubstr("missing.pem"));
}

}  // namespace
}  // namespace tactus
