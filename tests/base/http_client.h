// A plain HTTP client for one request on this machine, and a socket for requests that are none.
#pragma once

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/host_port.h"

namespace tactus {

// A connection to "HOST:PORT", from a local IPv4 address if one is given; closed when destroyed.
class ClientSocket {
 public:
  explicit ClientSocket(const std::string& address, const char* from = nullptr) {
    const absl::StatusOr<HostPort> peer = HostPort::Parse(address, "address");
    addrinfo* found = nullptr;
    if (!peer.ok() || getaddrinfo(peer->host.c_str(), std::to_string(peer->port).c_str(), nullptr, &found) != 0) return;
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, freeaddrinfo);
    fd_ = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (from != nullptr) {
      sockaddr_in own{};
      own.sin_family = AF_INET;
      if (inet_pton(AF_INET, from, &own.sin_addr) != 1) return;
      if (bind(fd_, reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) return;
    }
    connected_ = connect(fd_, found->ai_addr, found->ai_addrlen) == 0;
  }
  ~ClientSocket() { close(fd_); }
  ClientSocket(const ClientSocket&) = delete;
  ClientSocket& operator=(const ClientSocket&) = delete;

  bool connected() const { return connected_; }
  // Whether the peer has neither closed nor said anything so far.
  bool Quiet() const {
    pollfd poller{fd_, POLLIN, 0};
    return poll(&poller, 1, 0) == 0;
  }
  bool Send(const std::string& bytes) {
    return send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }
  // Whether something came within 20 s.
  bool AwaitBytes() const {
    pollfd poller{fd_, POLLIN, 0};
    return poll(&poller, 1, 20'000) == 1;
  }
  // Until the peer closes, or nothing comes for 20 s.
  std::string ReadAll() {
    std::string all;
    char buffer[4096];
    for (pollfd poller{fd_, POLLIN, 0}; poll(&poller, 1, 20'000) > 0;) {
      const ssize_t n = read(fd_, buffer, sizeof buffer);
      if (n <= 0) break;
      all.append(buffer, static_cast<size_t>(n));
    }
    return all;
  }

 private:
  int fd_ = -1;
  bool connected_ = false;
};

// The answer to GET, headers included; empty when there is none.
inline std::string HttpGet(const std::string& address, const std::string& path) {
  ClientSocket connection(address);
  if (!connection.connected() || !connection.Send(absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: x\r\n\r\n")))
    return "";
  return connection.ReadAll();
}

inline std::string HttpBody(const std::string& answer) {
  const size_t end = answer.find("\r\n\r\n");
  return end == std::string::npos ? "" : answer.substr(end + 4);
}

}  // namespace tactus
