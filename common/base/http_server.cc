#include "common/base/http_server.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <list>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/listen_socket.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/base/thread.h"

namespace tactus {
namespace {

constexpr size_t kMaxConnections = 256, kMaxConnectionsOfPeer = 32;
constexpr size_t kMaxRequestBytes = 8 << 10;
constexpr absl::Duration kRequestTime = absl::Seconds(5);
constexpr absl::Duration kAnswerTime = absl::Seconds(10);
// What a client still sends is read and thrown away for so long: closing before that would take its answer from it.
constexpr absl::Duration kGoodbyeTime = absl::Seconds(1);
// Without a free descriptor new connections wait in the kernel.
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);
constexpr int kAcceptsAtOnce = 64;

absl::string_view Phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 431:
      return "Request Header Fields Too Large";
    default:
      return "Service Unavailable";
  }
}

// The address alone: a peer's connections have different ports. IPv4 in IPv6 is the same peer as IPv4.
std::string PeerOf(const sockaddr_storage& address) {
  if (address.ss_family != AF_INET6) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address).sin_addr;
    return std::string(reinterpret_cast<const char*>(&v4), sizeof v4);
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  const std::string bytes(reinterpret_cast<const char*>(&v6), sizeof v6);
  return IN6_IS_ADDR_V4MAPPED(&v6) ? bytes.substr(sizeof v6 - sizeof(in_addr)) : bytes;
}

enum class Phase { kRequest, kAnswer, kGoodbye };

struct Connection {
  int fd;
  std::string peer;
  absl::Time deadline;  // on the monotonic clock
  Phase phase = Phase::kRequest;
  std::string request;
  std::string answer;
  size_t sent = 0;
};

struct Request {
  int refusal = 0;  // status to refuse it with; 0 = none
  bool head = false;
  std::string path;
};

bool AnnouncesBody(absl::string_view header) {
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(header, absl::MaxSplits(':', 1));
  if (absl::EqualsIgnoreCase(parts.first, "Transfer-Encoding")) return true;
  return absl::EqualsIgnoreCase(parts.first, "Content-Length") && absl::StripAsciiWhitespace(parts.second) != "0";
}

Request ParseRequest(absl::string_view text) {
  const std::vector<absl::string_view> lines = absl::StrSplit(text, "\r\n");
  const std::vector<absl::string_view> words = absl::StrSplit(lines[0], ' ');
  if (words.size() != 3 || !absl::StartsWith(words[1], "/") || !absl::StartsWith(words[2], "HTTP/1."))
    return {.refusal = 400, .path = {}};
  if (words[0] != "GET" && words[0] != "HEAD") return {.refusal = 405, .path = {}};
  if (std::ranges::any_of(lines, AnnouncesBody)) return {.refusal = 400, .path = {}};
  return {.head = words[0] == "HEAD", .path = std::string(words[1].substr(0, words[1].find('?')))};
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(ListenSocket socket, int wake_fd, std::string headers, Handler handler)
      : socket_(std::move(socket)), wake_fd_(wake_fd), headers_(std::move(headers)), handler_(std::move(handler)) {}
  ~Impl() {
    if (thread_.joinable()) {
      const uint64_t one = 1;
      // An eventfd's counter cannot be full after one write.
      [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
      thread_.join();
    }
    for (const Connection& connection : connections_) close(connection.fd);
    close(wake_fd_);
  }

  absl::Status Run() {
    ASSIGN_OR_RETURN(thread_, StartThread("serving HTTP", [this] { Serve(); }));
    return absl::OkStatus();
  }
  const HostPort& address() const { return socket_.address(); }

 private:
  using Iterator = std::list<Connection>::iterator;

  void Serve();
  void Accept();
  void MakeRoom(const std::string& peer);
  void CloseOldestOf(const std::string& peer);
  void Close(Iterator connection);
  // Each returns whether the connection is still wanted.
  bool Advance(Connection& connection);
  bool Read(Connection& connection);
  bool Write(Connection& connection);
  void Answer(Connection& connection);
  int PollTimeoutMs(absl::Time now) const;

  const ListenSocket socket_;
  const int wake_fd_;
  const std::string headers_;
  const Handler handler_;
  std::thread thread_;
  // The thread's own.
  std::list<Connection> connections_;  // oldest first
  std::map<std::string, size_t> of_peer_;
  absl::Time accept_from_ = absl::InfinitePast();
};

void HttpServer::Impl::Serve() {
  std::vector<pollfd> polled;
  for (;;) {
    const absl::Time now = MonotonicNow();
    polled = {{wake_fd_, POLLIN, 0}, {socket_.fd(), static_cast<short>(now >= accept_from_ ? POLLIN : 0), 0}};
    for (const Connection& connection : connections_) {
      polled.push_back({connection.fd, static_cast<short>(connection.phase == Phase::kAnswer ? POLLOUT : POLLIN), 0});
    }
    poll(polled.data(), polled.size(), PollTimeoutMs(now));  // where it fails nothing is ready
    if (polled[0].revents != 0) return;
    size_t i = 2;
    for (Iterator it = connections_.begin(); it != connections_.end(); ++i) {
      const Iterator connection = it++;
      const bool wanted = polled[i].revents == 0 || Advance(*connection);
      if (!wanted || MonotonicNow() >= connection->deadline) Close(connection);
    }
    if (polled[1].revents != 0) Accept();
  }
}

int HttpServer::Impl::PollTimeoutMs(absl::Time now) const {
  absl::Time wake = now >= accept_from_ ? absl::InfiniteFuture() : accept_from_;
  for (const Connection& connection : connections_) wake = std::min(wake, connection.deadline);
  if (wake == absl::InfiniteFuture()) return -1;
  return static_cast<int>(std::max<int64_t>(0, absl::ToInt64Milliseconds(wake - now) + 1));
}

void HttpServer::Impl::Accept() {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    const int fd = accept4(socket_.fd(), reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) accept_from_ = MonotonicNow() + kAcceptPause;
      return;
    }
    const std::string peer = PeerOf(address);
    MakeRoom(peer);
    ++of_peer_[peer];
    connections_.push_back(
        {.fd = fd, .peer = peer, .deadline = MonotonicNow() + kRequestTime, .request = {}, .answer = {}});
    // Most requests are there already: they are answered before anything can push them out.
    if (!Advance(connections_.back())) Close(std::prev(connections_.end()));
  }
}

void HttpServer::Impl::MakeRoom(const std::string& peer) {
  if (of_peer_[peer] >= kMaxConnectionsOfPeer) CloseOldestOf(peer);
  if (connections_.size() < kMaxConnections) return;
  const auto most = std::ranges::max_element(of_peer_, {}, [](const auto& one) { return one.second; });
  CloseOldestOf(std::string(most->first));
}

void HttpServer::Impl::CloseOldestOf(const std::string& peer) {
  const auto is_idle = [&](const Connection& c) { return c.peer == peer && c.phase != Phase::kAnswer; };
  Iterator oldest = std::ranges::find_if(connections_, is_idle);
  if (oldest == connections_.end()) oldest = std::ranges::find(connections_, peer, &Connection::peer);
  if (oldest != connections_.end()) Close(oldest);
}

void HttpServer::Impl::Close(Iterator connection) {
  close(connection->fd);
  if (--of_peer_[connection->peer] == 0) of_peer_.erase(connection->peer);
  connections_.erase(connection);
}

bool HttpServer::Impl::Advance(Connection& connection) {
  if (connection.phase != Phase::kAnswer && !Read(connection)) return false;
  return connection.phase != Phase::kAnswer || Write(connection);
}

bool HttpServer::Impl::Read(Connection& connection) {
  char buffer[4096];
  for (;;) {
    const ssize_t got = recv(connection.fd, buffer, sizeof buffer, 0);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0) return false;
    if (connection.phase == Phase::kGoodbye) return true;  // one buffer a turn: it may send for ever
    connection.request.append(buffer, static_cast<size_t>(got));
    const bool whole = absl::StrContains(connection.request, "\r\n\r\n");
    if (whole || connection.request.size() > kMaxRequestBytes) {
      Answer(connection);
      return true;
    }
  }
}

void HttpServer::Impl::Answer(Connection& connection) {
  Request request{.refusal = 431, .path = {}};
  if (const size_t end = connection.request.find("\r\n\r\n"); end <= kMaxRequestBytes)
    request = ParseRequest(absl::string_view(connection.request).substr(0, end));
  HttpAnswer answer{.status = request.refusal, .body = absl::StrCat(Phrase(request.refusal), "\n")};
  if (request.refusal == 0) answer = handler_(request.path);
  connection.answer = absl::StrCat(
      "HTTP/1.1 ", answer.status, " ", Phrase(answer.status), "\r\nContent-Type: ", answer.content_type,
      "\r\nContent-Length: ", answer.body.size(), "\r\n", answer.status == 405 ? "Allow: GET, HEAD\r\n" : "", headers_,
      "Cache-Control: no-store\r\nConnection: close\r\n\r\n");
  if (!request.head) connection.answer += answer.body;
  connection.request = {};
  connection.phase = Phase::kAnswer;
  connection.deadline = MonotonicNow() + kAnswerTime;
}

bool HttpServer::Impl::Write(Connection& connection) {
  while (connection.sent < connection.answer.size()) {
    const ssize_t put = send(connection.fd, connection.answer.data() + connection.sent,
                             connection.answer.size() - connection.sent, MSG_NOSIGNAL);
    if (put < 0) return errno == EAGAIN || errno == EINTR;
    connection.sent += static_cast<size_t>(put);
  }
  connection.answer = {};
  connection.phase = Phase::kGoodbye;
  connection.deadline = MonotonicNow() + kGoodbyeTime;
  return shutdown(connection.fd, SHUT_WR) == 0;
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HostPort& listen, std::string headers,
                                                              Handler handler) {
  ASSIGN_OR_RETURN(ListenSocket socket, ListenSocket::Open(listen));
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) return absl::UnavailableError("no descriptor is left for the HTTP server.");
  auto impl = std::make_unique<Impl>(std::move(socket), wake_fd, std::move(headers), std::move(handler));
  RETURN_IF_ERROR(impl->Run());
  return absl::WrapUnique(new HttpServer(std::move(impl)));
}

const HostPort& HttpServer::address() const { return impl_->address(); }

}  // namespace tactus
