// A hub of one repository on this machine, which can be made to misbehave. It serves the paths of hub_store.h.
#pragma once

#include <httplib.h>
#include <stdlib.h>

#include <atomic>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/sha256.h"

namespace tactus {

class TestHub {
 public:
  struct File {
    std::string content;
    bool hashed = true;              // whether the listing has its SHA-256
    std::string listed_sha256 = {};  // another one than it has
  };

  TestHub() {
    server_.Get(
        "/api/models/org/name/revision/v1", [this](const httplib::Request& request, httplib::Response& response) {
          ++listings;
          authorization = request.get_header_value("Authorization");
          if (status != 200) {
            response.status = status;
            return;
          }
          nlohmann::json siblings = nlohmann::json::array();
          for (const auto& [name, file] : files) {
            nlohmann::json sibling = {
                {"rfilename", name}, {"size", file.content.size()}, {"blobId", Sha256Hex(file.content)}};
            if (file.hashed) {
              sibling["lfs"] = {{"sha256", file.listed_sha256.empty() ? Sha256Hex(file.content) : file.listed_sha256}};
            }
            siblings.push_back(sibling);
          }
          response.set_content(nlohmann::json({{"sha", "c0ffee"}, {"siblings", siblings}}).dump(), "application/json");
        });
    server_.Get("/org/name/resolve/c0ffee/(.+)", [this](const httplib::Request& request, httplib::Response& response) {
      ++downloads;
      const std::string name = request.matches[1];
      if (!files.contains(name)) {
        response.status = 404;
        return;
      }
      ranges += request.has_header("Range") ? 1 : 0;
      const std::string& content = files[name].content;
      if (cut_downloads > 0) {  // promises all of it, and breaks off
        --cut_downloads;
        response.set_content_provider(content.size(), "application/octet-stream",
                                      [&content](size_t offset, size_t, httplib::DataSink& sink) {
                                        if (offset >= content.size() / 2) return false;
                                        sink.write(content.data() + offset, content.size() / 2 - offset);
                                        return true;
                                      });
        return;
      }
      response.set_content(content, "application/octet-stream");
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
    ::setenv("HF_ENDPOINT", absl::StrCat("http://127.0.0.1:", port_, "/").c_str(), 1);
    ::setenv("HF_TOKEN", "hf_secret", 1);
  }
  ~TestHub() {
    server_.stop();
    thread_.join();
  }

  std::map<std::string, File> files;
  int status = 200;  // of the listing
  std::atomic<int> cut_downloads = 0, downloads = 0, ranges = 0, listings = 0;
  std::string authorization;

 private:
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace tactus
