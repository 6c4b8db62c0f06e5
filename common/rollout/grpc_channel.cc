#include "common/rollout/grpc_channel.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/auth_metadata_processor.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rollout/certificates.h"
#include "common/rollout/peer_role.h"

namespace tactus {
namespace {

namespace tls = grpc::experimental;

constexpr int kKeepaliveMs = 20'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
constexpr int kMinPingIntervalMs = 10'000;  // below kKeepaliveMs: the server must tolerate its clients' pings
// Of a user's server nothing is known: gRPC's servers take it for abuse, and close the connection, when pings come more
// often than every five minutes while they compute.
constexpr int kEnvironmentKeepaliveMs = 310'000;
constexpr int kReconnectMinMs = 100;
constexpr int kReconnectMaxMs = 2'000;
constexpr int kLookUpEveryMs = 1'000;
constexpr unsigned kCertificateRefreshS = 10;
// A server without the health service counts as serving.
constexpr char kReplicas[] =
    R"({"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}})";
constexpr absl::string_view kLearnerAndActors = "learner and actors";
constexpr size_t kServerQuotaBytes = size_t{2} << 30;

// true: TLS; false: plaintext.
// `between` whom, for a warning; empty: it was given already.
absl::StatusOr<bool> WantsTls(const ChannelSecurity& security, absl::string_view between) {
  const int files = !security.tls_cert_path.empty() + !security.tls_key_path.empty() + !security.tls_ca_path.empty();
  if (files == 0 && security.plaintext) {
    if (!between.empty()) {
      TACTUS_LOG(WARNING) << "the connection between " << between
                          << " is not encrypted and checks nobody: service.plaintext is true";
    }
    return false;
  }
  if (files != 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("service.tls_cert_path, tls_key_path and tls_ca_path must all be set for mutual TLS (", files,
                     " of 3 are), or service.plaintext must be true"));
  }
  if (security.plaintext) {
    return absl::InvalidArgumentError("service.plaintext is true although the TLS files are set: choose one");
  }
  return true;
}

// Reads the certificates, warns of what a person should know, and says with whom the process deals: a learner's
// services with those who call them, any process with the `server` it calls.
enum class Side { kLearnerServes, kCallsLearner, kCallsEnvironment, kRelayServes, kCallsRelay };

bool IsRelay(Side side) { return side == Side::kRelayServes || side == Side::kCallsRelay; }
bool Serves(Side side) { return side == Side::kLearnerServes || side == Side::kRelayServes; }

// Peers refuse in the handshake, in words of OpenSSL's, what this refuses.
absl::Status CheckUsages(Side side, const CertificateFacts& facts, const std::string& path) {
  if (Serves(side) ? facts.may_serve : facts.may_call) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("service.tls_cert_path: ", path, " may not be a ", Serves(side) ? "server's" : "client's",
                   ": expected ", Serves(side) ? "serverAuth" : "clientAuth", " among its extended key usages",
                   side == Side::kRelayServes ? ", as service.relay_fan_out lets actors serve weights." : "."));
}

absl::StatusOr<PeerRule> CheckOwnCertificates(Side side, const ChannelSecurity& security) {
  ASSIGN_OR_RETURN(const CertificateFacts facts, ReadCertificates(security, absl::Now()));
  RETURN_IF_ERROR(CheckUsages(side, facts, security.tls_cert_path));
  if (IsRelay(side)) return PeerRule::ForRelay(facts.uris);
  if (const std::string warning = ExpiryWarning(facts, security, absl::Now()); !warning.empty()) {
    TACTUS_LOG(WARNING) << warning;
  }
  PeerRule rule =
      PeerRule::ForClientOf(side == Side::kCallsEnvironment ? Role::kEnvironment : Role::kLearner, facts.uris);
  if (side == Side::kLearnerServes) {
    ASSIGN_OR_RETURN(rule, PeerRule::ForLearner(facts.uris));
  }
  if (!rule.enforced()) {
    TACTUS_LOG(WARNING) << security.tls_cert_path << " names no role (spiffe://…/"
                        << RoleName(side == Side::kLearnerServes ? Role::kLearner : Role::kActor)
                        << "): any certificate of " << security.tls_ca_path
                        << (side == Side::kCallsEnvironment ? " may act as environment"
                                                            : " may act as learner and as actor");
  }
  return rule;
}

// On a learner, before each call. What a call does is its service's business; all of them are for the same roles.
class RoleCheck final : public grpc::AuthMetadataProcessor {
 public:
  RoleCheck(PeerRule rule, std::function<void(absl::string_view)> on_refused)
      : rule_(std::move(rule)), on_refused_(std::move(on_refused)) {}

  bool IsBlocking() const override { return false; }
  grpc::Status Process(const InputMetadata&, grpc::AuthContext* context, OutputMetadata*, OutputMetadata*) override {
    std::vector<std::string> uris;
    for (const grpc::string_ref& uri : context->FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME)) {
      uris.emplace_back(uri.data(), uri.size());
    }
    const absl::Status status = rule_.Check(uris);
    if (!status.ok() && on_refused_ != nullptr) on_refused_(status.message());
    return ToGrpc(status);
  }

 private:
  const PeerRule rule_;
  const std::function<void(absl::string_view)> on_refused_;
};

// On a client, in the handshake: besides the server's name, which gRPC checks where nobody else does, its role. Of a
// relay the role alone, if roles are asked for.
class ServerVerifier final : public tls::ExternalCertificateVerifier {
 public:
  ServerVerifier(PeerRule rule, bool by_role_alone)
      : rule_(std::move(rule)), by_name_(!by_role_alone || !rule_.enforced()) {}

  bool Verify(tls::TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)>,
              grpc::Status* sync_status) override {
    if (by_name_) name_.Verify(request, nullptr, sync_status);
    if (by_name_ && !sync_status->ok()) return true;
    std::vector<std::string> uris;
    for (const grpc::string_ref& uri : request->uri_names()) uris.emplace_back(uri.data(), uri.size());
    *sync_status = ToGrpc(rule_.Check(uris));
    return true;
  }
  void Cancel(tls::TlsCustomVerificationCheckRequest*) override {}

 private:
  const PeerRule rule_;
  const bool by_name_;
  tls::HostNameCertificateVerifier name_;  // answers at once
};

std::shared_ptr<tls::CertificateProviderInterface> WatchFiles(const ChannelSecurity& security) {
  return std::make_shared<tls::FileWatcherCertificateProvider>(security.tls_key_path, security.tls_cert_path,
                                                               security.tls_ca_path, kCertificateRefreshS);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(Side side,
                                                                                 const ChannelSecurity& security) {
  const absl::string_view between = IsRelay(side)                     ? ""
                                    : side == Side::kCallsEnvironment ? "this process and the environment"
                                                                      : kLearnerAndActors;
  ASSIGN_OR_RETURN(const bool use_tls, WantsTls(security, between));
  if (!use_tls) return grpc::InsecureChannelCredentials();
  ASSIGN_OR_RETURN(PeerRule rule, CheckOwnCertificates(side, security));
  tls::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(WatchFiles(security));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_certificate_verifier(
      tls::ExternalCertificateVerifier::Create<ServerVerifier>(std::move(rule), IsRelay(side)));
  options.set_check_call_host(!IsRelay(side));  // ServerVerifier's business
  return tls::TlsCredentials(options);
}

// Of an argument that is set twice, gRPC takes the first.
grpc::ChannelArguments BoundChannel(int keepalive_ms = kKeepaliveMs) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, keepalive_ms);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMinMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // http_proxy and grpc_proxy are for reaching the world
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  return arguments;
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentialsOf(
    Side side, const ChannelSecurity& security, std::function<void(absl::string_view)> on_refused) {
  ASSIGN_OR_RETURN(const bool use_tls, WantsTls(security, IsRelay(side) ? "" : kLearnerAndActors));
  if (!use_tls) return grpc::InsecureServerCredentials();
  ASSIGN_OR_RETURN(PeerRule rule, CheckOwnCertificates(side, security));
  tls::TlsServerCredentialsOptions options(WatchFiles(security));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  std::shared_ptr<grpc::ServerCredentials> credentials = tls::TlsServerCredentials(options);
  credentials->SetAuthMetadataProcessor(std::make_shared<RoleCheck>(std::move(rule), std::move(on_refused)));
  return credentials;
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const ChannelSecurity& security, std::function<void(absl::string_view)> on_refused) {
  return MakeCredentialsOf(Side::kLearnerServes, security, std::move(on_refused));
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeRelayCredentials(
    const ChannelSecurity& security, std::function<void(absl::string_view)> on_refused) {
  return MakeCredentialsOf(Side::kRelayServes, security, std::move(on_refused));
}

void BoundServer(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  grpc::ResourceQuota quota("tactus");
  quota.Resize(kServerQuotaBytes);
  builder.SetResourceQuota(quota);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const HostPort& address, const ChannelSecurity& security) {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                   MakeChannelCredentials(Side::kCallsLearner, security));
  return grpc::CreateCustomChannel(address.Dialable().Text(), credentials, BoundChannel());
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenRelayChannel(const HostPort& address,
                                                                const ChannelSecurity& security) {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                   MakeChannelCredentials(Side::kCallsRelay, security));
  return grpc::CreateCustomChannel(address.Dialable().Text(), credentials, BoundChannel());
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenEnvironmentChannel(const HostPort& address,
                                                                      const ChannelSecurity& security) {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                   MakeChannelCredentials(Side::kCallsEnvironment, security));
  grpc::ChannelArguments arguments = BoundChannel(kEnvironmentKeepaliveMs);
  arguments.SetServiceConfigJSON(kReplicas);
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, kLookUpEveryMs);
  return grpc::CreateCustomChannel(address.Dialable().Text(), credentials, arguments);
}

void ConnectAgain(grpc::Channel& channel) { grpc::experimental::ChannelResetConnectionBackoff(&channel); }

absl::Status FromGrpc(const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

}  // namespace tactus
