#include "tools/report/html_page.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/sha256.h"
#include "tools/report/web/chart.js.h"
#include "tools/report/web/page.css.h"

namespace tactus {
namespace {

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";

// The length of a C1 control or a bidirectional control at the start of `text`, or 0.
size_t HiddenLength(absl::string_view text) {
  const auto byte = [text](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0; };
  if (byte(0) == 0xC2 && byte(1) >= 0x80 && byte(1) <= 0x9F) return 2;  // U+0080 … U+009F
  if (byte(0) != 0xE2) return 0;
  const bool marks = byte(1) == 0x80 && (byte(2) == 0x8E || byte(2) == 0x8F);    // U+200E, U+200F
  const bool overrides = byte(1) == 0x80 && byte(2) >= 0xAA && byte(2) <= 0xAE;  // U+202A … U+202E
  const bool isolates = byte(1) == 0x81 && byte(2) >= 0xA6 && byte(2) <= 0xA9;   // U+2066 … U+2069
  return marks || overrides || isolates ? 3 : 0;
}

}  // namespace

std::string EscapeHtml(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string VisibleText(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const size_t hidden = HiddenLength(text.substr(i));
    if (hidden > 0) {
      absl::StrAppend(&out, kReplacement);
      i += hidden - 1;
    } else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F) {
      out += {'\xE2', '\x90', static_cast<char>(c == 0x7F ? 0xA1 : 0x80 + c)};
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string NumberText(double value, int digits) { return absl::StrFormat("%.*g", digits, value); }

std::string DurationText(double seconds) {
  if (!std::isfinite(seconds)) return "—";
  const int64_t whole = std::llround(std::max(0.0, seconds));
  if (whole < 60) return absl::StrFormat("%d s", whole);
  if (whole < 3600) return absl::StrFormat("%d min %02d s", whole / 60, whole % 60);
  return absl::StrFormat("%d h %02d min", whole / 3600, whole / 60 % 60);
}

std::string JsonText(absl::string_view text) {
  std::string out = nlohmann::json(std::string(text)).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  for (size_t at = 0; (at = out.find('<', at)) != std::string::npos; at += 6) out.replace(at, 1, "\\u003c");
  return out;
}

std::string JsonNumber(double value, int digits) { return std::isfinite(value) ? NumberText(value, digits) : "null"; }

std::string JsonNumbers(const std::vector<double>& values, int digits) {
  const auto append = [digits](std::string* out, double value) { *out += JsonNumber(value, digits); };
  return absl::StrCat("[", absl::StrJoin(values, ",", append), "]");
}

std::string HtmlPage(absl::string_view title, absl::string_view subtitle, absl::string_view style,
                     absl::string_view body, absl::string_view script) {
  const std::string shown = EscapeHtml(VisibleText(title)), code = absl::StrCat(kChartJs, script);
  const std::string hash = absl::Base64Escape(absl::HexStringToBytes(Sha256Hex(code)));
  return absl::StrCat(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" "
      "content=\"default-src 'none'; base-uri 'none'; form-action 'none'; connect-src 'self'; style-src "
      "'unsafe-inline'; script-src 'sha256-",
      hash, "'\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>", shown,
      " · Tactus</title><style>", kPageCss, style, "</style></head><body><main>\n<h1>", shown,
      "</h1>\n<p class=\"sub\">", subtitle, "</p>\n", body, "</main><script>", code, "</script></body></html>\n");
}

}  // namespace tactus
