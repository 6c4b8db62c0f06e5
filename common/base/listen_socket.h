// A TCP socket that listens.
#pragma once

#include <utility>

#include "absl/status/statusor.h"
#include "common/base/host_port.h"

namespace tactus {

// Owns the socket. Not thread-safe.
class ListenSocket {
 public:
  // Binds and listens. Port 0 takes a free one; [::] takes connections to IPv4 addresses too. The port is never shared
  // with another process. Does not block but for the look-up of a name. Unavailable: the address cannot be bound,
  // naming it and why.
  static absl::StatusOr<ListenSocket> Open(const HostPort& address);
  ~ListenSocket();
  ListenSocket(ListenSocket&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), address_(std::move(other.address_)) {}
  ListenSocket& operator=(ListenSocket&&) = delete;

  int fd() const { return fd_; }                        // does not block
  const HostPort& address() const { return address_; }  // with the port that was bound

 private:
  ListenSocket(int fd, HostPort address) : fd_(fd), address_(std::move(address)) {}
  int fd_;
  HostPort address_;
};

// A port of 127.0.0.1 that nobody listens at now, and none that connections to elsewhere are given by the kernel, where
// there are others: they would take it in the moment before its user does. Another process may still. Thread-safe.
absl::StatusOr<int> FreePort();

}  // namespace tactus
