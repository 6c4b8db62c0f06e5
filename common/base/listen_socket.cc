#include "common/base/listen_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

constexpr int kBacklog = 256;
constexpr int kFirstPort = 10'000, kPortTries = 100;  // of FreePort

absl::Status CannotListen(const HostPort& address, const std::string& why) {
  return absl::UnavailableError(absl::StrCat("cannot listen at ", address.Text(), ": ", why, "."));
}

std::string Why(int error) { return std::generic_category().message(error); }

bool SetOption(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

// Of a bound socket; -1: unknown.
int PortOf(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return -1;
  return ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                           : reinterpret_cast<const sockaddr_in&>(bound).sin_port);
}

// Where those begin that the kernel takes for connections to elsewhere, of any process and at any moment.
int FirstOutgoingPort() {
  int first = 0;
  const bool known = std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> first && first > 0 && first <= 65535;
  return known ? first : 32768;
}

}  // namespace

absl::StatusOr<ListenSocket> ListenSocket::Open(const HostPort& address) {
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (error != 0) return CannotListen(address, gai_strerror(error));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, freeaddrinfo);
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return CannotListen(address, Why(errno));
  ListenSocket opened(fd, address);
  const bool options = SetOption(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
                       (found->ai_family != AF_INET6 || SetOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0));
  if (!options || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, kBacklog) != 0)
    return CannotListen(address, Why(errno));
  opened.address_.port = PortOf(fd);
  if (opened.address_.port <= 0) return CannotListen(address, "its port is unknown");
  return opened;
}

ListenSocket::~ListenSocket() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<int> FreePort() {
  static std::atomic<uint32_t> next = std::random_device{}();
  const int begin = kFirstPort, end = FirstOutgoingPort();
  for (int i = 0; i < kPortTries && begin < end; ++i) {
    const int port = begin + static_cast<int>(next++ % static_cast<uint32_t>(end - begin));
    if (ListenSocket::Open({"127.0.0.1", port}).ok()) return port;
  }
  ASSIGN_OR_RETURN(const ListenSocket socket, ListenSocket::Open({"127.0.0.1", 0}));
  return socket.address().port;
}

}  // namespace tactus
