#include "common/base/host_port.h"

#include <arpa/inet.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace tactus {
namespace {

constexpr size_t kMaxHostBytes = 255, kMaxPortDigits = 5;
constexpr int kMaxPort = 65535;

// With or without the interface of a link-local one: fe80::1%eth0.
bool IsIpv6(absl::string_view text) {
  in6_addr address;
  return inet_pton(AF_INET6, std::string(text.substr(0, text.find('%'))).c_str(), &address) == 1;
}

bool IsHost(absl::string_view text) {
  return !text.empty() && text.size() <= kMaxHostBytes && std::ranges::all_of(text, [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c)) &&
           absl::string_view(":/[]@?#").find(c) == absl::string_view::npos;
  });
}

bool IsPort(absl::string_view text, int* port) {
  return !text.empty() && text.size() <= kMaxPortDigits &&
         std::ranges::all_of(text, [](char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }) &&
         absl::SimpleAtoi(text, port) && *port <= kMaxPort;
}

}  // namespace

absl::StatusOr<HostPort> HostPort::Parse(absl::string_view text, absl::string_view what) {
  HostPort address;
  const size_t colon = text.rfind(':');
  if (colon != absl::string_view::npos && IsPort(text.substr(colon + 1), &address.port)) {
    const absl::string_view host = text.substr(0, colon);
    const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
    const absl::string_view inner = brackets ? host.substr(1, host.size() - 2) : host;
    address.host = std::string(inner);
    if (brackets ? inner.size() <= kMaxHostBytes && IsIpv6(inner) : IsHost(inner)) return address;
  }
  return absl::InvalidArgumentError(absl::StrCat(what, " is ", text.empty() ? "empty" : text,
                                                 ": expected HOST:PORT or [IPv6]:PORT, with a port from 0 to 65535."));
}

std::string HostPort::Text() const {
  const bool brackets = host.find(':') != std::string::npos;
  return absl::StrCat(brackets ? "[" : "", host, brackets ? "]:" : ":", port);
}

HostPort HostPort::Dialable() const {
  in_addr v4;
  in6_addr v6;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1 && v4.s_addr == INADDR_ANY) return {"127.0.0.1", port};
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_UNSPECIFIED(&v6)) return {"::1", port};
  return *this;
}

bool HostPort::IsLoopback() const {
  in_addr v4;
  in6_addr v6;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return host == "localhost";
}

}  // namespace tactus
