#include "tests/tools/report/browser.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/file.h"
#include "tools/job/child_process.h"

namespace tactus {

std::string Chromium() {
  for (const char* path : {"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"}) {
    if (std::filesystem::exists(path)) return path;
  }
  return "";
}

std::string DumpDom(const std::string& url, const std::string& folder, const std::string& flags) {
  std::filesystem::create_directories(folder);
  const std::string command = absl::StrCat(
      "exec ", Chromium(), " --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run ",
      "--disable-background-networking --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.1' --user-data-dir='",
      folder, "/profile' --window-size=1200,1000 --virtual-time-budget=20000 ", flags, " --dump-dom '", url, "' >'",
      folder, "/dom.html'");
  auto browser = ChildProcess::Start({"/bin/sh", "-c", command}, folder + "/log");
  EXPECT_TRUE(browser.ok()) << browser.status();
  if (!browser.ok()) return "";
  const std::optional<int> code = (*browser)->Wait(absl::Seconds(120));
  EXPECT_EQ(code, 0) << LogTail(folder + "/log", 30);
  return ReadFile(folder + "/dom.html").value_or("");
}

}  // namespace tactus
