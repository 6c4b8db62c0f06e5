// How a process proves who it is and checks its peers. A plain value, without gRPC.
#pragma once

#include <string>

#include "common/config/config_fwd.h"

namespace tactus {

// PEM files; all three or none. Without them `plaintext` must be true.
struct ChannelSecurity {
  std::string tls_cert_path;
  std::string tls_key_path;
  std::string tls_ca_path;
  bool plaintext = false;

  static ChannelSecurity FromProto(const config::ServiceOptions& options);
};

}  // namespace tactus
