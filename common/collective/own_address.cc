#include "common/collective/own_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>

#include "common/base/host_port.h"

namespace tactus {
namespace {

constexpr char kAnyPort[] = "9";
// Addresses that are reserved for documentation: nobody has them, so they are reached by the default route.
constexpr std::array kElsewhere = {"192.0.2.1", "2001:db8::1"};

// The local end of a socket that is "connected" to `to`, which for UDP only chooses the way.
std::string LocalEnd(const addrinfo& to) {
  const int fd = socket(to.ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return "";
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  std::array<char, NI_MAXHOST> text{};
  const bool known = connect(fd, to.ai_addr, to.ai_addrlen) == 0 &&
                     getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
                     getnameinfo(reinterpret_cast<const sockaddr*>(&own), size, text.data(), text.size(), nullptr, 0,
                                 NI_NUMERICHOST) == 0;
  close(fd);
  return known ? text.data() : "";
}

bool IsLoopback(const std::string& host) { return HostPort{host, 0}.IsLoopback(); }

}  // namespace

std::string AddressTowards(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), kAnyPort, &hints, &found) != 0) return "";
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, freeaddrinfo);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    if (std::string own = LocalEnd(*one); !own.empty()) return own;
  }
  return "";
}

std::string RankAddress(const std::string& store_host) {
  const std::string address = AddressTowards(store_host);
  if (IsLoopback(store_host) || !IsLoopback(address)) return address;
  for (const char* elsewhere : kElsewhere) {
    if (const std::string way = AddressTowards(elsewhere); !way.empty() && !IsLoopback(way)) return way;
  }
  return address;
}

}  // namespace tactus
