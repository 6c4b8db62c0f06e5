// Where a process listens or connects to, as flags, fields and files write it: HOST:PORT, or [IPv6]:PORT. The only
// parser of addresses. Thread-safe: values.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

struct HostPort {
  std::string host;  // a name, an IPv4 address, or an IPv6 address without brackets; never empty
  int port = 0;      // 0 to 65535; 0 = any free one, to listen at

  // InvalidArgument: "<what> is <text>: expected HOST:PORT or [IPv6]:PORT."; `what`: the flag or field.
  static absl::StatusOr<HostPort> Parse(absl::string_view text, absl::string_view what);
  std::string Text() const;  // what Parse reads

  // Where others on this machine find who listens here. A wildcard (0.0.0.0, ::) stands for every address of the
  // machine and is none to connect to: no certificate names it. Loopback takes its place.
  HostPort Dialable() const;
  bool IsLoopback() const;  // "localhost", or an address of loopback: only this machine reaches it

  friend bool operator==(const HostPort&, const HostPort&) = default;
};

}  // namespace tactus
