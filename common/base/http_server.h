// Serves a few small pages over plain HTTP until destroyed: a process's metrics and health, a live page.
//
// One thread does it all, and no connection can hold it: whoever connects and says nothing, sends slowly or does not
// read costs a place, never somebody else's turn. GET and HEAD only, one request a connection, no body.
//
//   bound                            beyond it
//   8 KiB of request line, headers   431
//   5 s from connecting to the end   closed
//     of the request
//   10 s to take the answer          closed
//   32 connections of one peer       that peer's oldest is closed, first one that has not asked for anything
//   256 connections                  the same of the peer that has most
//
// So a prober gets through beside any number of idle connections, its own peer's included. There is no TLS and no
// authentication.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/host_port.h"

namespace tactus {

struct HttpAnswer {
  int status = 200;  // 200, 404 or 503
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

class HttpServer {
 public:
  // Answers a path, given without its query. Called on the server's thread: it must not block, and is not called any
  // more once the server is destroyed.
  using Handler = std::function<HttpAnswer(const std::string& path)>;

  // `headers` stand in every answer, each line with its "\r\n". Port 0 takes a free one. Unavailable: the address
  // cannot be bound, naming it, or there is no thread.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HostPort& listen, std::string headers,
                                                           Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  const HostPort& address() const;  // as bound

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace tactus
