#include "common/rollout/channel_security.h"

#include "proto/config.pb.h"

namespace tactus {

ChannelSecurity ChannelSecurity::FromProto(const config::ServiceOptions& options) {
  return {.tls_cert_path = options.tls_cert_path(),
          .tls_key_path = options.tls_key_path(),
          .tls_ca_path = options.tls_ca_path(),
          .plaintext = options.plaintext()};
}

}  // namespace tactus
