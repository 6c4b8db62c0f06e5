// How a process proves who it is and checks its peers. A plain value, without gRPC.
#pragma once

#include <string>

#include "proto/config.pb.h"

namespace tactus {

// PEM files; all three or none. Without them `plaintext` must be true.
struct ChannelSecurity {
  std::string tls_cert_path;
  std::string tls_key_path;
  std::string tls_ca_path;
  bool plaintext = false;

  static ChannelSecurity FromProto(const config::ServiceOptions& options) {
    return {.tls_cert_path = options.tls_cert_path(),
            .tls_key_path = options.tls_key_path(),
            .tls_ca_path = options.tls_ca_path(),
            .plaintext = options.plaintext()};
  }
};

}  // namespace tactus
