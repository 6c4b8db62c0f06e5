// Headless Chromium, for tests of pages. Not thread-safe; blocks at most two minutes.
#pragma once

#include <string>

namespace tactus {

// The browser's path, or "" where none is installed.
std::string Chromium();

// The document at `url` after its scripts ran, as markup; no host name resolves but 127.0.0.1. `folder` holds the
// profile and the log. A browser that fails fails the test.
std::string DumpDom(const std::string& url, const std::string& folder, const std::string& flags = "");

}  // namespace tactus
