#include "tests/tools/report/browser.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "tools/job/child_process.h"

namespace tactus {
namespace {

// Before all else of the page.
constexpr char kWatch[] = R"js(
const errors = [];
addEventListener('error', e => errors.push(e.message));
addEventListener('securitypolicyviolation', e => errors.push('forbidden: ' + e.violatedDirective + ' ' + e.blockedURI));
console.error = (...said) => errors.push(said.join(' '));
)js";

// What a probe may use.
constexpr char kTools[] = R"js(
const found = {};
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const points = path => path ? (path.getAttribute('d').match(/[ML]/g) || []).length : 0;
const places = path => (path.getAttribute('d').match(/[ML][-\d.]+ [-\d.]+/g) || []).map(p => p.slice(1).split(' ').map(Number));
const key = name => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: name, bubbles: true, cancelable: true}));
// The least WCAG contrast of a text that `selector` finds with what lies under it, alpha composited.
const rgba = text => { const v = (text.match(/[\d.]+/g) || []).map(Number); return v.length < 4 ? [...v, 1] : v; };
const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
const under = e => e ? over(rgba(getComputedStyle(e).backgroundColor), under(e.parentElement)) : [255, 255, 255, 1];
const light = c => c.slice(0, 3).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
const leastContrast = selector => {
  let result = {least: 99, texts: 0};
  for (const e of all(selector)) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.closest('script,noscript')) continue;
    const style = getComputedStyle(e), svg = e.namespaceURI.endsWith('svg'), cell = e.matches('.mark') && e.previousElementSibling;
    const ratio = contrast(rgba(svg ? style.fill : style.color), cell ? rgba(getComputedStyle(cell).fill) : under(e));
    ++result.texts;
    if (ratio < result.least) result = {...result, least: ratio, where: e.outerHTML.slice(0, 120)};
  }
  return result;
};
)js";

constexpr char kEnd[] = R"js(
found.dark = matchMedia('(prefers-color-scheme: dark)').matches;
found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
found.errors = errors;
const pre = document.body.appendChild(document.createElement('pre'));
pre.id = 'probe';
pre.textContent = JSON.stringify(found);
)js";

}  // namespace

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
      folder, "/profile' --enable-logging=stderr --window-size=1200,1000 --virtual-time-budget=20000 ", flags,
      " --dump-dom '", url, "' >'", folder, "/dom.html'");
  auto browser = ChildProcess::Start({"/bin/sh", "-c", command}, folder + "/log");
  EXPECT_TRUE(browser.ok()) << browser.status();
  if (!browser.ok()) return "";
  const std::optional<int> code = (*browser)->Wait(absl::Seconds(120));
  EXPECT_EQ(code, 0) << LogTail(folder + "/log", 30);
  return ReadFile(folder + "/dom.html").value_or("");
}

nlohmann::json ProbePage(const std::string& page, const std::string& probe, const std::string& folder,
                         const std::string& flags) {
  std::filesystem::create_directories(folder);
  const std::string script = absl::StrCat("{", kTools, probe, kEnd, "}");
  const std::string hash = absl::Base64Escape(absl::HexStringToBytes(Sha256Hex(script)));
  // The page's policy holds; it lets the probe run besides the page's own script.
  const std::string probed =
      absl::StrReplaceAll(page, {{"<head>", absl::StrCat("<head><script>", kWatch, "</script>")},
                                 {"script-src '", absl::StrCat("script-src 'sha256-", hash, "' '")},
                                 {"</body>", absl::StrCat("<script>", script, "</script></body>")}});
  EXPECT_TRUE(WriteFileAtomic(folder + "/page.html", probed).ok());
  const std::string dom = DumpDom(absl::StrCat("file://", folder, "/page.html"), folder, flags);
  const std::string open = "<pre id=\"probe\">";
  const size_t at = dom.find(open);
  if (at == std::string::npos) {
    ADD_FAILURE() << "the probe did not run to its end: " << dom.substr(0, 2000) << LogTail(folder + "/log", 30);
    return nlohmann::json::object();
  }
  const size_t begin = at + open.size();
  return nlohmann::json::parse(
      absl::StrReplaceAll(dom.substr(begin, dom.find("</pre>", begin) - begin),
                          {{"&lt;", "<"}, {"&gt;", ">"}, {"&nbsp;", "\u00A0"}, {"&amp;", "&"}}));
}

}  // namespace tactus
