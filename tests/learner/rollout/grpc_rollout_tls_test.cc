// Mutual TLS, with certificates made by the openssl command in the test's own folder.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/time/clock.h"
#include "common/rollout/certificates.h"
#include "common/rollout/grpc_channel.h"
#include "common/weights/grpc_weight_receiver.h"
#include "common/weights/grpc_weight_relay_server.h"
#include "tests/learner/rollout/rollout_fixture.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

namespace tls = grpc::experimental;

constexpr absl::Duration kTry = absl::Seconds(2);

struct TlsRollout : RolloutFixture {
  ~TlsRollout() override { server.reset(); }  // it writes into `metrics`, which ends before the base class

  static void SetUpTestSuite() {
    have_openssl = std::system("openssl version >/dev/null 2>&1") == 0;
    if (!have_openssl) return;
    std::filesystem::remove_all(folder());
    std::filesystem::create_directories(folder());
    for (const std::string authority : {"ours", "theirs"}) {
      Run(absl::StrCat("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 20 -subj /CN=",
                       authority, " -keyout ", authority, "-ca.key -out ", authority, "-ca.pem"));
      Certify(authority, authority, "IP:127.0.0.1");
    }
    Certify("learner", "ours", "IP:127.0.0.1,URI:spiffe://tactus/learner");
    Certify("actor", "ours", "URI:spiffe://tactus/actor");
    Certify("actor-with-address", "ours", "IP:127.0.0.1,URI:spiffe://tactus/actor");
    Certify("learner-elsewhere", "ours", "IP:127.0.0.9,URI:spiffe://tactus/learner");
    Certify("metrics", "ours", "URI:spiffe://tactus/metrics");
    Certify("other-actor", "ours", "URI:spiffe://other/actor");
    Certify("longer", "ours", "URI:spiffe://tactus/actor/actor");
    Certify("ending", "ours", "URI:https://x/actor");
    Certify("only-calls", "ours", "IP:127.0.0.1,URI:spiffe://tactus/actor", "clientAuth");
    Certify("only-serves", "ours", "IP:127.0.0.1,URI:spiffe://tactus/learner", "serverAuth");
    std::ofstream(folder() + "/garbage.pem") << "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n";
    Run("openssl ec -in ours.key -aes256 -passout pass:secret -out locked.key");
    Run("cat theirs-ca.pem ours-ca.pem > both-ca.pem");
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder()); }
  void SetUp() override {
    if (!have_openssl) GTEST_SKIP() << "the openssl command is not installed";
  }

  static std::string folder() { return ::testing::TempDir() + "/tls_rollout"; }
  static std::string Path(const std::string& name) { return folder() + "/" + name; }
  static void Run(const std::string& command) {
    ASSERT_EQ(std::system(absl::StrCat("cd ", folder(), " && ", command, " 2>/dev/null").c_str()), 0) << command;
  }
  static void Certify(const std::string& name, const std::string& authority, const std::string& alternative_names,
                      const std::string& usages = "") {
    const std::string extended = usages.empty() ? "" : "\\nextendedKeyUsage=" + usages;
    Run(absl::StrCat("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=peer -keyout ", name,
                     ".key -out request && printf 'subjectAltName=", alternative_names, extended,
                     "' > names && openssl x509 -req -days 2 -in request -CA ", authority, "-ca.pem -CAkey ", authority,
                     "-ca.key -CAcreateserial -extfile names -out ", name, ".pem"));
  }
  // Certificate and key of one name, checking peers against an authority.
  static ChannelSecurity Security(const std::string& of, const std::string& trusts = "ours") {
    return {Path(of + ".pem"), Path(of + ".key"), Path(trusts + "-ca.pem"), false};
  }
  absl::Status TryAttach(const ChannelSecurity& security, absl::Duration timeout) const {
    GrpcRolloutPortOptions options = ActorOptions("actor-1");
    options.security = security;
    return GrpcRolloutPort::Connect(options, timeout).status();
  }
  static absl::Status TryStart(const ChannelSecurity& security) {
    RolloutServerOptions options = ServerOptions();
    options.security = security;
    return RolloutServer::Start(options, std::nullopt).status();
  }
  void StartTlsServer(const std::string& certificate = "ours") {
    RolloutServerOptions options = ServerOptions();
    options.security = Security(certificate);
    options.metrics = &metrics;
    StartServer(options);
  }
  // What a call of a method that the learner does not have ends with, for a peer with this certificate.
  grpc::StatusCode CallNothing(const std::string& certificate) const {
    return CallNothing(certificate, server->port());
  }
  static grpc::StatusCode CallNothing(const std::string& certificate, int port) {
    // Without an actor's own opinion of the server.
    const ChannelSecurity files = Security(certificate);
    tls::TlsChannelCredentialsOptions options;
    options.set_certificate_provider(std::make_shared<tls::FileWatcherCertificateProvider>(
        files.tls_key_path, files.tls_cert_path, files.tls_ca_path, 1));
    options.watch_root_certs();
    options.watch_identity_key_cert_pairs();
    options.set_certificate_verifier(std::make_shared<tls::NoOpCertificateVerifier>());
    options.set_check_call_host(false);
    grpc::GenericStub stub(grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), tls::TlsCredentials(options)));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kLong));
    grpc::CompletionQueue queue;
    const grpc::ByteBuffer nothing;
    const auto call = stub.PrepareUnaryCall(&context, "/tactus.wire.Nothing/Call", nothing, &queue);
    call->StartCall();
    grpc::ByteBuffer reply;
    grpc::Status status;
    call->Finish(&reply, &status, &queue);
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue.Next(&tag, &ok));
    return status.error_code();
  }

  MetricSet metrics{{.role = ProcessRole::kLearner, .task = "t", .run_id = "r"}};
  static inline bool have_openssl = false;
};

TEST_F(TlsRollout, KnownPeersMeet) {
  StartTlsServer();
  const absl::Status status = TryAttach(Security("ours"), kLong);
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(TlsRollout, StrangersAreRefused) {
  StartTlsServer();
  EXPECT_EQ(TryAttach(Security("theirs", "ours"), kTry).code(), absl::StatusCode::kUnavailable) << "unknown actor";
  EXPECT_EQ(TryAttach(Security("ours", "theirs"), kTry).code(), absl::StatusCode::kUnavailable) << "unknown learner";
  EXPECT_EQ(TryAttach({"", "", "", true}, kTry).code(), absl::StatusCode::kUnavailable) << "no TLS at all";
  EXPECT_EQ(server->AttachedActors(), 0);
}

TEST_F(TlsRollout, ALearnerServesActorsAndLearnersOfItsInstallationAlone) {
  StartTlsServer("learner");
  for (const char* certificate : {"actor", "learner"}) {
    const absl::Status status = TryAttach(Security(certificate), kLong);
    EXPECT_TRUE(status.ok()) << certificate << ": " << status;
  }
  EXPECT_EQ(CallNothing("actor"), grpc::StatusCode::UNIMPLEMENTED);
  int refused = 0;
  for (const char* certificate : {"metrics", "other-actor", "longer", "ending", "ours"}) {
    EXPECT_EQ(CallNothing(certificate), grpc::StatusCode::PERMISSION_DENIED) << certificate << ", whatever the service";
    ++refused;
  }
  for (const char* certificate : {"metrics", "ending", "ours"}) {
    const absl::Status status = TryAttach(Security(certificate), kLong);
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << certificate << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("expected spiffe://tactus/learner or spiffe://tactus/actor"));
    ++refused;
  }
  for (const char* certificate : {"other-actor", "longer"}) {  // they want learners of their own installation
    EXPECT_EQ(TryAttach(Security(certificate), kTry).code(), absl::StatusCode::kUnavailable) << certificate;
  }
  EXPECT_THAT(metrics.Text(), HasSubstr(absl::StrCat("refused_total{reason=\"wrong_role\"} ", refused, "\n")));
  EXPECT_EQ(server->AttachedActors(), 0);
}

// A relay with one certificate, and what an actor with another one gets from it: nothing but a refusal, as it has none.
struct TlsRelay {
  explicit TlsRelay(const std::string& certificate) {
    relay->Close();
    server = WeightRelayServer::Start(relay.get(), {"127.0.0.1", 0}, TlsRollout::Security(certificate), &sent).value();
  }
  absl::Status Ask(const std::string& certificate) const {
    const auto channel = OpenRelayChannel({"127.0.0.1", server->port()}, TlsRollout::Security(certificate));
    EXPECT_TRUE(channel.ok()) << channel.status();
    WeightReceiver receiver(*channel, "run", "actor-1", ParameterLayout());
    return receiver.FetchFrom({.channel = *channel, .manifest_digest = ""}, {0, 1}, kTry).status();
  }
  std::atomic<uint64_t> sent{0};
  std::unique_ptr<WeightRelay> relay = WeightRelay::Start("run").value();
  std::unique_ptr<WeightRelayServer> server;
};

TEST_F(TlsRollout, ARelayServesActorsAndLearnersOfItsInstallationAlone) {
  for (const char* own : {"actor", "learner"}) {
    const TlsRelay relay(own);
    for (const char* certificate : {"actor", "learner"}) {
      EXPECT_EQ(CallNothing(certificate, relay.server->port()), grpc::StatusCode::UNIMPLEMENTED) << certificate;
      EXPECT_THAT(std::string(relay.Ask(certificate).message()), HasSubstr("this relay is stopping"))
          << own << " serves " << certificate << ", though it does not name the address";
    }
    for (const char* certificate : {"metrics", "other-actor", "longer", "ending", "ours"}) {
      EXPECT_EQ(CallNothing(certificate, relay.server->port()), grpc::StatusCode::PERMISSION_DENIED) << certificate;
    }
  }
}

TEST_F(TlsRollout, ACertificateOfAnotherUseIsRefusedBeforeAnyPeerDoes) {
  EXPECT_THAT(std::string(MakeRelayCredentials(Security("only-calls"), nullptr).status().message()),
              HasSubstr("only-calls.pem may not be a server's: expected serverAuth among its extended key usages, as "
                        "service.relay_fan_out"));
  EXPECT_THAT(std::string(TryStart(Security("only-calls")).message()), HasSubstr("may not be a server's"));
  StartTlsServer();
  EXPECT_THAT(std::string(TryAttach(Security("only-serves"), kTry).message()),
              HasSubstr("only-serves.pem may not be a client's: expected clientAuth"));
}

TEST_F(TlsRollout, TheCertificatesThatAreMadeForActorsServeWeights) {
  Run(absl::StrCat(SourcePath("deploy/certificates/make_certs.sh"), " made >/dev/null"));
  const std::string made = Path("made/actor/");
  const auto relay = MakeRelayCredentials({made + "tls.crt", made + "tls.key", made + "ca.crt", false}, nullptr);
  EXPECT_TRUE(relay.ok()) << relay.status();
}

TEST_F(TlsRollout, AnActorTakesWeightsFromNobodyOfAnotherRole) {
  for (const char* certificate : {"metrics", "ours", "other-actor", "theirs"}) {
    const absl::Status status = TlsRelay(certificate).Ask("actor");
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << certificate << ": " << status;
    EXPECT_THAT(std::string(status.message()), ::testing::Not(HasSubstr("is stopping"))) << certificate;
  }
  // Without a role of one's own, the certificate must name the address.
  EXPECT_THAT(std::string(TlsRelay("ours").Ask("ours").message()), HasSubstr("is stopping"));
  EXPECT_THAT(std::string(TlsRelay("ending").Ask("ours").message()), ::testing::Not(HasSubstr("is stopping")));
}

TEST_F(TlsRollout, AnActorHandsItsWorkToNobodyButALearner) {
  for (const auto& [certificate, why] : {std::pair("actor-with-address", "spiffe://tactus/actor"),
                                         std::pair("ours", "names no identity"), std::pair("learner-elsewhere", "")}) {
    SCOPED_TRACE(certificate);
    const ChannelSecurity files = Security(certificate);
    tls::TlsServerCredentialsOptions options(std::make_shared<tls::FileWatcherCertificateProvider>(
        files.tls_key_path, files.tls_cert_path, files.tls_ca_path, 1));
    options.watch_root_certs();
    options.watch_identity_key_cert_pairs();
    grpc::ServerBuilder builder;
    int port = 0;
    grpc::CallbackGenericService nothing;  // a server must have a service
    builder.AddListeningPort("127.0.0.1:0", tls::TlsServerCredentials(options), &port);
    builder.RegisterCallbackGenericService(&nothing);
    const std::unique_ptr<grpc::Server> impostor = builder.BuildAndStart();
    ASSERT_NE(impostor, nullptr);
    GrpcRolloutPortOptions actor;
    actor.address = {"127.0.0.1", port};
    actor.security = Security("actor");
    actor.actor_id = "actor-1";
    actor.limits = kTestLimits;
    const absl::Status status = GrpcRolloutPort::Connect(actor, kTry).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  }
}

TEST_F(TlsRollout, AWildcardIsDialedByAnAddressThatCertificatesName) {
  RolloutServerOptions options = ServerOptions();
  options.listen = "0.0.0.0:0";
  options.security = Security("learner");
  StartServer(options);
  GrpcRolloutPortOptions actor = ActorOptions("actor-1");
  actor.address.host = "0.0.0.0";
  actor.security = Security("actor");
  const absl::Status status = GrpcRolloutPort::Connect(actor, kLong).status();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(TlsRollout, OptionsMustBeWhole) {
  EXPECT_THAT(std::string(TryStart({}).message()), HasSubstr("(0 of 3 are), or service.plaintext must be true"));
  ChannelSecurity security = Security("ours");
  security.tls_key_path.clear();
  EXPECT_THAT(std::string(TryStart(security).message()), HasSubstr("(2 of 3 are)"));
  security = Security("ours");
  security.plaintext = true;
  EXPECT_THAT(std::string(TryStart(security).message()), HasSubstr("choose one"));
  security = Security("missing");
  EXPECT_EQ(TryStart(security).code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(TryStart(security).message()), HasSubstr("missing.pem"));
}

TEST_F(TlsRollout, WhatCannotWorkIsRefusedAtTheStart) {
  StartTlsServer();
  struct Case {
    ChannelSecurity security;
    std::string why;
  };
  const ChannelSecurity good = Security("ours");
  const auto with = [&](std::string ChannelSecurity::*field, const std::string& file) {
    ChannelSecurity changed = good;
    changed.*field = Path(file);
    return changed;
  };
  const std::vector<Case> cases = {
      {with(&ChannelSecurity::tls_key_path, "actor.key"), "actor.key is not the key of the certificate in"},
      {with(&ChannelSecurity::tls_key_path, "locked.key"), "locked.key: expected a private key in PEM text"},
      {with(&ChannelSecurity::tls_key_path, "ours.pem"), "ours.pem: expected a private key in PEM text"},
      {with(&ChannelSecurity::tls_cert_path, "ours.key"),
       "service.tls_cert_path: " + Path("ours.key") + ": expected a"},
      {with(&ChannelSecurity::tls_cert_path, "garbage.pem"), "garbage.pem: a certificate cannot be read"},
      {with(&ChannelSecurity::tls_ca_path, "garbage.pem"), "service.tls_ca_path: " + Path("garbage.pem")},
      {with(&ChannelSecurity::tls_ca_path, "names"), "expected a certificate in PEM text"},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.why);
    for (const absl::Status& status : {TryStart(one.security), TryAttach(one.security, kTry)}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(one.why));
    }
  }
  EXPECT_THAT(std::string(TryStart(Security("actor")).message()),
              AllOf(HasSubstr("spiffe://tactus/actor"), HasSubstr("expected a learner's certificate")));
}

TEST_F(TlsRollout, CertificatesEnd) {
  const absl::Time now = absl::Now();
  const auto read = [](const ChannelSecurity& security, absl::Time at) { return ReadCertificates(security, at); };
  const ChannelSecurity good = Security("learner");
  const absl::StatusOr<CertificateFacts> facts = read(good, now);
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_THAT(facts->uris, ::testing::ElementsAre("spiffe://tactus/learner"));
  EXPECT_NEAR(absl::ToDoubleHours(facts->own_expiry - now), 48, 1);
  EXPECT_NEAR(absl::ToDoubleHours(facts->ca_expiry - now), 480, 1);
  EXPECT_THAT(ExpiryWarning(*facts, good, now), HasSubstr("learner.pem expires in 2.0 days, at "));
  EXPECT_EQ(ExpiryWarning(*facts, good, now - absl::Hours(6 * 24)), "");
  const absl::Status ended = read(good, now + absl::Hours(72)).status();
  EXPECT_EQ(ended.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ended.message()), HasSubstr("learner.pem: the certificate expired at "));
  EXPECT_THAT(std::string(read(good, now - absl::Hours(1)).status().message()), HasSubstr("is not valid before "));
  EXPECT_TRUE(read(Security("learner", "both"), now).ok()) << "a bundle of authorities";
}

}  // namespace
}  // namespace tactus
