// Headless Chromium, for tests of pages. Not thread-safe; blocks at most two minutes.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace tactus {

// The browser's path, or "" where none is installed.
std::string Chromium();

// The document at `url` after its scripts ran, as markup; no host name resolves but 127.0.0.1. `folder` holds the
// profile and the log, which has what the page wrote to its console. A browser that fails fails the test.
std::string DumpDom(const std::string& url, const std::string& folder, const std::string& flags = "");

// Opens a page of HtmlPage() and runs `probe` after the page's own script: what it put into the object `found`, and as
// "errors" what the page threw, logged as an error, or tried and its Content-Security-Policy forbade. browser.cc says
// what the probe may use. A probe that does not come to its end fails the test.
nlohmann::json ProbePage(const std::string& page, const std::string& probe, const std::string& folder,
                         const std::string& flags = "");

}  // namespace tactus
