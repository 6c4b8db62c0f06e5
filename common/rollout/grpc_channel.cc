#include "common/rollout/grpc_channel.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

namespace tls = grpc::experimental;

constexpr int kKeepaliveMs = 20'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
constexpr int kMinPingIntervalMs = 10'000;  // below kKeepaliveMs: the server must tolerate its clients' pings
constexpr int kReconnectMinMs = 100;
constexpr int kReconnectMaxMs = 2'000;
constexpr unsigned kCertificateRefreshS = 10;
constexpr size_t kMaxCertificateBytes = size_t{1} << 20;
constexpr size_t kServerQuotaBytes = size_t{2} << 30;

// true: TLS; false: plaintext.
absl::StatusOr<bool> WantsTls(const ChannelSecurity& security) {
  const int files = !security.tls_cert_path.empty() + !security.tls_key_path.empty() + !security.tls_ca_path.empty();
  if (files == 0 && security.plaintext) {
    TACTUS_LOG(WARNING) << "the connection between learner and actors is not encrypted and checks nobody: "
                           "service.plaintext is true";
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
  for (const std::string& path : {security.tls_cert_path, security.tls_key_path, security.tls_ca_path}) {
    RETURN_IF_ERROR(ReadFile(path, kMaxCertificateBytes).status());
  }
  return true;
}

std::shared_ptr<tls::CertificateProviderInterface> WatchFiles(const ChannelSecurity& security) {
  return std::make_shared<tls::FileWatcherCertificateProvider>(security.tls_key_path, security.tls_cert_path,
                                                               security.tls_ca_path, kCertificateRefreshS);
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const ChannelSecurity& security) {
  ASSIGN_OR_RETURN(const bool use_tls, WantsTls(security));
  if (!use_tls) return grpc::InsecureServerCredentials();
  tls::TlsServerCredentialsOptions options(WatchFiles(security));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  return tls::TlsServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(const ChannelSecurity& security) {
  ASSIGN_OR_RETURN(const bool use_tls, WantsTls(security));
  if (!use_tls) return grpc::InsecureChannelCredentials();
  tls::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(WatchFiles(security));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  return tls::TlsCredentials(options);
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

grpc::ChannelArguments BoundChannel() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMinMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  return arguments;
}

absl::Status FromGrpc(const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

}  // namespace tactus
