// Mutual TLS between a run and its environment, with certificates made by the openssl command.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "common/base/file.h"
#include "common/base/host_port.h"
#include "tests/environment/grpc_fake_server.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

class EnvironmentTlsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    have_openssl = std::system("openssl version >/dev/null 2>&1") == 0;
    if (!have_openssl) return;
    std::filesystem::create_directories(folder());
    Run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 20 -subj /CN=ours -keyout ca.key "
        "-out ca.pem");
    Certify("environment", "IP:127.0.0.1,URI:spiffe://tactus/environment");
    Certify("learner", "IP:127.0.0.1,URI:spiffe://tactus/learner");
    Certify("actor", "URI:spiffe://tactus/actor");
    Certify("other", "URI:spiffe://other/actor");
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder()); }
  void SetUp() override {
    if (!have_openssl) GTEST_SKIP() << "the openssl command is not installed";
  }
  static std::string folder() { return ::testing::TempDir() + "/tls_environment"; }
  static std::string Path(const std::string& name) { return folder() + "/" + name; }
  static void Run(const std::string& command) {
    ASSERT_EQ(std::system(absl::StrCat("cd ", folder(), " && ", command, " 2>/dev/null").c_str()), 0) << command;
  }
  static void Certify(const std::string& name, const std::string& names) {
    Run(absl::StrCat("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=peer -keyout ", name,
                     ".key -out request && printf 'subjectAltName=", names,
                     "' > names && openssl x509 -req -days 20 -in request -CA ca.pem -CAkey ca.key -CAcreateserial "
                     "-extfile names -out ",
                     name, ".pem"));
  }
  // What a client with one certificate gets from a server with another.
  static absl::Status Ask(const std::string& client, const std::string& server_certificate) {
    grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_root_certs = ReadFile(Path("ca.pem")).value();
    options.pem_key_cert_pairs.push_back(
        {ReadFile(Path(server_certificate + ".key")).value(), ReadFile(Path(server_certificate + ".pem")).value()});
    FakeServer server;
    server.Start("127.0.0.1", 0, grpc::SslServerCredentials(options));
    const auto asks = EnvironmentClient::Create({"127.0.0.1", server.port()},
                                                {Path(client + ".pem"), Path(client + ".key"), Path("ca.pem"), false});
    if (!asks.ok()) return asks.status();
    return (*asks)->Describe(absl::Seconds(10)).status();
  }

  static inline bool have_openssl = false;
};

TEST_F(EnvironmentTlsTest, ActorsAndLearnersMeetAnEnvironment) {
  EXPECT_TRUE(Ask("actor", "environment").ok()) << Ask("actor", "environment");
  EXPECT_TRUE(Ask("learner", "environment").ok());
}

// An actor's prompts and answers go to nobody who is only another part of the run, or of another installation.
TEST_F(EnvironmentTlsTest, NobodyElseIsAnEnvironment) {
  for (const auto& [client, server] :
       {std::pair("actor", "learner"), std::pair("learner", "learner"), std::pair("other", "environment")}) {
    const absl::Status status = Ask(client, server);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << client << " asked " << server << ": " << status;
  }
}

}  // namespace
}  // namespace tactus
