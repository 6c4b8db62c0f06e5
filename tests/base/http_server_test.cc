#include "common/base/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/base/http_client.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr size_t kConnections = 256, kOfPeer = 32;  // that the header promises
constexpr size_t kBigBytes = 16 << 20;              // more than the kernel keeps for a client that does not read

class HttpServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = HttpServer::Start({"127.0.0.1", 0}, "X-Own: yes\r\n", [](const std::string& path) -> HttpAnswer {
      if (path == "/big") return {.body = std::string(kBigBytes, 'b')};
      if (path == "/") return {.content_type = "text/x", .body = "hello"};
      return {.status = 404, .body = "no " + path};
    });
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
  }
  std::string address() const { return server_->address().Text(); }
  std::string Request(const std::string& bytes) const {
    ClientSocket connection(address());
    EXPECT_TRUE(connection.Send(bytes));
    return connection.ReadAll();
  }
  using Sockets = std::vector<std::unique_ptr<ClientSocket>>;
  // Each is the server's before the next comes: an answered request stands between them.
  void OpenIdle(size_t count, const char* from, Sockets* sockets) {
    for (size_t i = 0; i < count; ++i) {
      sockets->push_back(std::make_unique<ClientSocket>(address(), from));
      ASSERT_TRUE(sockets->back()->connected());
    }
    // Accepted in the order of arrival: whoever is answered now came after all of them.
    ClientSocket last(address(), "127.0.0.99");
    ASSERT_TRUE(last.Send("GET / HTTP/1.1\r\n\r\n"));
    ASSERT_THAT(last.ReadAll(), HasSubstr("hello"));
  }
  static size_t CountQuiet(const Sockets& sockets) {
    size_t quiet = 0;
    for (const auto& socket : sockets) quiet += socket->Quiet() ? 1 : 0;
    return quiet;
  }

  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersWholeRequestsAndClosesTheConnection) {
  EXPECT_EQ(Request("GET /?a=b HTTP/1.1\r\nHost: x\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: 5\r\nX-Own: yes\r\nCache-Control: no-store\r\n"
            "Connection: close\r\n\r\nhello");
  EXPECT_THAT(Request("HEAD / HTTP/1.0\r\n\r\n"), HasSubstr("Content-Length: 5\r\n"));
  EXPECT_EQ(HttpBody(Request("HEAD / HTTP/1.0\r\n\r\n")), "");
  EXPECT_THAT(Request("GET /else HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404 Not Found\r\n"));
  EXPECT_EQ(HttpBody(Request("GET /big HTTP/1.1\r\n\r\n")).size(), kBigBytes);
  ClientSocket slow(address());
  for (const char byte : std::string("GET / HTTP/1.1\r\n\r\n")) ASSERT_TRUE(slow.Send(std::string(1, byte)));
  EXPECT_THAT(slow.ReadAll(), HasSubstr("hello"));
}

TEST_F(HttpServerTest, RefusesWithTheStatusOfTheFault) {
  const std::string mebibyte(size_t{1} << 20, 'a');
  EXPECT_THAT(Request("BREW / HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 405 Method Not Allowed\r\n"));
  EXPECT_THAT(Request("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"), HasSubstr("Allow: GET, HEAD\r\n"));
  for (const char* bad : {"\r\n\r\n", "GET\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/2\r\n\r\n", "GET x HTTP/1.1\r\n\r\n",
                          "GET  / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
                          "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "\x16\x03\x01\x02\r\n\r\n"}) {
    EXPECT_THAT(Request(bad), StartsWith("HTTP/1.1 400 Bad Request\r\n")) << bad;
  }
  EXPECT_THAT(Request("GET / HTTP/1.1\r\nX: " + std::string(8 << 10, 'x') + "\r\n\r\n"), StartsWith("HTTP/1.1 431 "));
  for (const std::string& huge : {mebibyte, "GET /" + mebibyte, "POST / HTTP/1.1\r\n\r\n" + mebibyte}) {
    ClientSocket connection(address());
    connection.Send(huge);  // may fail: the server hangs up once it has seen enough
    EXPECT_THAT(connection.ReadAll(), Not(HasSubstr(" 200 ")));
    EXPECT_THAT(Request("GET / HTTP/1.1\r\n\r\n"), HasSubstr("hello"));
  }
}

TEST_F(HttpServerTest, APeerWithTooManyConnectionsLosesItsOldest) {
  Sockets other, many;
  OpenIdle(kOfPeer, "127.0.0.2", &other);
  OpenIdle(3 * kOfPeer, nullptr, &many);
  EXPECT_EQ(CountQuiet(other), kOfPeer) << "another peer's are its own";
  EXPECT_EQ(CountQuiet(many), kOfPeer);
  for (size_t i = 0; i < many.size(); ++i) EXPECT_EQ(many[i]->Quiet(), i >= 2 * kOfPeer) << i;
  EXPECT_TRUE(many.back()->Send("GET / HTTP/1.1\r\n\r\n"));
  EXPECT_THAT(many.back()->ReadAll(), HasSubstr("hello"));
}

TEST_F(HttpServerTest, AConnectionBeingAnsweredOutlastsIdleOnes) {
  ClientSocket asked(address());
  ASSERT_TRUE(asked.Send("GET /big HTTP/1.1\r\n\r\n"));
  ASSERT_TRUE(asked.AwaitBytes());
  Sockets idle;
  OpenIdle(2 * kOfPeer, nullptr, &idle);
  EXPECT_EQ(CountQuiet(idle), kOfPeer - 1);
  EXPECT_EQ(HttpBody(asked.ReadAll()).size(), kBigBytes);
}

TEST_F(HttpServerTest, ManyPeersTogetherAreBounded) {
  std::vector<Sockets> peers(10);
  const std::string from = "127.0.1.";
  for (size_t i = 0; i < peers.size(); ++i) OpenIdle(kOfPeer, (from + std::to_string(i + 1)).c_str(), &peers[i]);
  size_t quiet = 0;
  for (const Sockets& sockets : peers) {
    EXPECT_GE(CountQuiet(sockets), kConnections / peers.size() - 1) << "each has its share";
    quiet += CountQuiet(sockets);
  }
  EXPECT_LE(quiet, kConnections);
  EXPECT_GE(quiet, kConnections - peers.size());
}

TEST_F(HttpServerTest, EndsWithConnectionsOpen) {
  ClientSocket idle(address()), reading(address());
  ASSERT_TRUE(reading.Send("GET /big HTTP/1.1\r\n\r\n"));
  server_.reset();
  EXPECT_EQ(idle.ReadAll(), "");
  EXPECT_LT(HttpBody(reading.ReadAll()).size(), kBigBytes);
}

}  // namespace
}  // namespace tactus
