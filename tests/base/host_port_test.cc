#include "common/base/host_port.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <string>

#include "common/base/listen_socket.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

TEST(HostPortTest, ReadsNamesAndAddressesOfBothKinds) {
  struct Case {
    const char* text;
    HostPort expected;
  };
  const Case cases[] = {
      {"127.0.0.1:0", {"127.0.0.1", 0}},
      {"host-0.learner.ns.svc:29500", {"host-0.learner.ns.svc", 29500}},
      {"a_b:65535", {"a_b", 65535}},
      {"[::1]:7070", {"::1", 7070}},
      {"[::]:8080", {"::", 8080}},
      {"[fe80::1%eth0]:1", {"fe80::1%eth0", 1}},
      {"[::ffff:10.0.0.1]:1", {"::ffff:10.0.0.1", 1}},
  };
  for (const Case& one : cases) {
    const absl::StatusOr<HostPort> read = HostPort::Parse(one.text, "--store");
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, one.expected) << one.text;
    EXPECT_EQ(read->Text(), one.text);
  }
}

TEST(HostPortTest, RefusesTheRestWithASentence) {
  const std::string long_name(256, 'a');
  for (const std::string& text :
       {std::string(),          std::string("host"),     std::string("host:"),      std::string(":80"),
        std::string("host:x"),  std::string("host:-1"),  std::string("host:65536"), std::string("host:000001"),
        std::string("host: 1"), std::string("host:1 "),  std::string("ho st:1"),    std::string("::1:80"),
        std::string("fd00::2"), std::string("[::1]"),    std::string("[]:1"),       std::string("[127.0.0.1]:1"),
        std::string("[::1:1"),  std::string("::1]:1"),   std::string("[host]:1"),   std::string("http://host:1"),
        std::string("a/b:1"),   std::string("host\n:1"), long_name + ":1"}) {
    const absl::Status status = HostPort::Parse(text, "--store").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("expected HOST:PORT or [IPv6]:PORT"));
    EXPECT_THAT(std::string(status.message()), HasSubstr(text.empty() ? "--store is empty" : "--store is " + text));
  }
}

TEST(HostPortTest, AWildcardIsReachedByLoopback) {
  EXPECT_EQ((HostPort{"0.0.0.0", 7}).Dialable(), (HostPort{"127.0.0.1", 7}));
  EXPECT_EQ((HostPort{"::", 7}).Dialable(), (HostPort{"::1", 7}));
  EXPECT_EQ((HostPort{"0:0::0", 7}).Dialable(), (HostPort{"::1", 7}));
  for (const HostPort& address : {HostPort{"10.0.0.5", 7}, HostPort{"fd00::2", 7}, HostPort{"host", 7}})
    EXPECT_EQ(address.Dialable(), address);
}

TEST(HostPortTest, KnowsLoopback) {
  for (const char* host : {"localhost", "127.0.0.1", "127.0.1.1", "::1"})
    EXPECT_TRUE((HostPort{host, 1}).IsLoopback()) << host;
  for (const char* host :
       {"128.0.0.1", "10.0.0.1", "::", "0.0.0.0", "host-0", "127.0.0.1.example", "localhost.example"}) {
    EXPECT_FALSE((HostPort{host, 1}).IsLoopback()) << host;
  }
}

bool Connects(const HostPort& address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in peer{};
  peer.sin_family = AF_INET;
  peer.sin_port = htons(static_cast<uint16_t>(address.port));
  inet_pton(AF_INET, address.host.c_str(), &peer.sin_addr);
  const bool connected = connect(fd, reinterpret_cast<const sockaddr*>(&peer), sizeof peer) == 0;
  close(fd);
  return connected;
}

TEST(ListenSocketTest, TakesAFreePortAndNeverATakenOne) {
  const absl::StatusOr<ListenSocket> first = ListenSocket::Open({"127.0.0.1", 0});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_GT(first->address().port, 0);
  EXPECT_TRUE(Connects(first->address()));
  const absl::Status taken = ListenSocket::Open(first->address()).status();
  EXPECT_EQ(taken.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(taken.message()), HasSubstr("cannot listen at " + first->address().Text() + ": "));
  EXPECT_EQ(ListenSocket::Open({"no-such-host.invalid", 0}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ListenSocket::Open({"203.0.113.7", 0}).status().code(), absl::StatusCode::kUnavailable) << "not ours";
}

TEST(ListenSocketTest, TheIpv6WildcardTakesBothKinds) {
  const absl::StatusOr<ListenSocket> socket = ListenSocket::Open({"::", 0});
  if (!socket.ok()) GTEST_SKIP() << "this machine has no IPv6: " << socket.status();
  EXPECT_TRUE(Connects({"127.0.0.1", socket->address().port}));
}

TEST(ListenSocketTest, AFreePortIsNoneThatConnectionsToElsewhereTake) {
  int first = 0, last = 0;
  ASSERT_TRUE(std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> first >> last);
  if (first <= 10'000) GTEST_SKIP() << "they may take any, from " << first << " on";
  std::set<int> ports;
  for (int i = 0; i < 50; ++i) ports.insert(FreePort().value());
  EXPECT_LT(*ports.rbegin(), first);
  EXPECT_GT(ports.size(), 40u) << "several processes would ask for the same";
}

TEST(ListenSocketTest, AFreePortCanBeListenedAt) {
  const absl::StatusOr<int> port = FreePort();
  ASSERT_TRUE(port.ok()) << port.status();
  EXPECT_FALSE(Connects({"127.0.0.1", *port}));
  EXPECT_TRUE(ListenSocket::Open({"127.0.0.1", *port}).ok());
}

}  // namespace
}  // namespace tactus
