#include "tools/report/rhythm_page.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tools/report/html_page.h"
#include "tools/report/web/rhythm.css.h"
#include "tools/report/web/rhythm.js.h"

namespace tactus {
namespace {

std::string Shown(absl::string_view text) { return EscapeHtml(VisibleText(text)); }

std::string JsonIndices(const std::vector<int32_t>& values) {
  return absl::StrCat("[", absl::StrJoin(values, ","), "]");
}

// By how far gamma is from 1, in steps of 0.1; the script has the same rule.
std::string CreditClass(double gamma) {
  if (!std::isfinite(gamma)) return "";
  const int level = static_cast<int>(std::clamp(std::lround(std::fabs(gamma - 1) * 10), 0L, 5L));
  return level == 0 ? "" : absl::StrFormat("%c%d", gamma > 1 ? 'h' : 'c', level);
}

std::string TokensHtml(const RhythmAnswer& answer) {
  const std::vector<double>* gamma = nullptr;
  if (!answer.credits.empty() && answer.credits[0].gamma.size() == answer.tokens.size()) {
    gamma = &answer.credits[0].gamma;
  }
  std::string out = "<div class=\"tokens\" role=\"listbox\" aria-orientation=\"horizontal\" aria-label=\"Tokens of ";
  absl::StrAppend(&out, Shown(answer.title), "\"><svg class=\"score\" aria-hidden=\"true\"></svg>");
  for (size_t i = 0; i < answer.tokens.size(); ++i) {
    const std::string& token = answer.tokens[i];
    const bool newlines = !token.empty() && token.find_first_not_of('\n') == std::string::npos;
    std::string css = gamma == nullptr ? "" : CreditClass((*gamma)[i]);
    // What has no ink of its own gets a mark from the style, which is not part of the text.
    if (token.empty() || newlines) absl::StrAppend(&css, css.empty() ? "" : " ", newlines ? "nl" : "none");
    absl::StrAppend(&out, "<span", css.empty() ? "" : absl::StrCat(" class=\"", css, "\""), ">", Shown(token),
                    "</span>");
  }
  return out + "</div>\n";
}

std::string LookersJson(const RhythmAnswer& answer) {
  std::string out = "[";
  for (size_t i = 0; i < answer.lookers.size(); ++i) {
    std::vector<std::string> items;
    for (const Looker& looker : answer.lookers[i]) {
      if (looker.token < 0 || static_cast<size_t>(looker.token) >= answer.tokens.size()) continue;
      items.push_back(absl::StrCat(looker.token, ",", JsonNumber(looker.weight, 3)));
    }
    absl::StrAppend(&out, i == 0 ? "[" : ",[", absl::StrJoin(items, ","), "]");
  }
  return out + "]";
}

std::string ArcsJson(const RhythmAnswer& answer) {
  const auto tokens = static_cast<int32_t>(answer.tokens.size());
  std::vector<std::string> items;
  for (const FlowArc& arc : answer.arcs) {
    if (arc.from < -1 || arc.from >= arc.to || arc.to >= tokens) continue;
    items.push_back(absl::StrCat("[", arc.from, ",", arc.to, ",", JsonNumber(arc.flow, 3), "]"));
  }
  return absl::StrCat("[", absl::StrJoin(items, ","), "]");
}

bool HasHeads(const HeadMap& heads) {
  return !heads.layers.empty() && !heads.span.empty() && heads.span.size() % heads.layers.size() == 0;
}

std::string ImageJson(const AttentionImage& image) {
  const std::string bytes(image.values.begin(), image.values.end());
  return absl::StrFormat(
      "{\"name\":%s,\"width\":%d,\"height\":%d,\"rows\":%d,\"keys\":[%d,%d],\"prompt\":%d,"
      "\"pixels\":\"%s\"}",
      JsonText(image.name), image.width, image.height, image.num_rows, image.first_key, image.num_keys,
      image.prompt_tokens, absl::Base64Escape(bytes));
}

bool IsWhole(const AttentionImage& image) {
  return image.width > 0 && image.height > 0 && image.num_rows > 0 && image.num_keys > 0 &&
         image.values.size() == static_cast<size_t>(image.width) * static_cast<size_t>(image.height);
}

// The numbers of an answer, for the script; no token's text is in it.
std::string DataJson(const RhythmAnswer& answer) {
  const size_t n = answer.tokens.size();
  std::vector<std::string> fields;
  const std::pair<const char*, const std::vector<double>*> lists[] = {
      {"waad", &answer.waad},       {"delta", &answer.delta},         {"fai", &answer.fai},
      {"flow", &answer.flow},       {"advantage", &answer.advantage}, {"entropy", &answer.entropy},
      {"logprob", &answer.logprobs}};
  for (const auto& [key, values] : lists) {
    if (n > 0 && values->size() == n) fields.push_back(absl::StrCat("\"", key, "\":", JsonNumbers(*values, 4)));
  }
  std::vector<std::string> credits, images;
  for (const TokenCredit& credit : answer.credits) {
    if (credit.gamma.size() != n) continue;
    credits.push_back(absl::StrCat("[", JsonText(credit.strategy), ",", JsonNumbers(credit.gamma, 4), "]"));
  }
  for (const AttentionImage& image : answer.images) {
    if (IsWhole(image)) images.push_back(ImageJson(image));
  }
  if (n > 0 && answer.flow.size() == n) fields.push_back(absl::StrCat("\"arcs\":", ArcsJson(answer)));
  fields.push_back(absl::StrCat("\"window\":", JsonNumber(answer.waad_window, 4)));
  fields.push_back(absl::StrCat("\"credits\":[", absl::StrJoin(credits, ","), "]"));
  if (n > 0 && answer.lookers.size() == n) fields.push_back(absl::StrCat("\"lookers\":", LookersJson(answer)));
  if (HasHeads(answer.heads)) {
    fields.push_back(
        absl::StrCat("\"layers\":", JsonIndices(answer.heads.layers), ",\"span\":", JsonNumbers(answer.heads.span, 4),
                     ",\"local\":", JsonIndices(answer.heads.local), ",\"global\":", JsonIndices(answer.heads.global)));
  }
  fields.push_back(absl::StrCat("\"images\":[", absl::StrJoin(images, ","), "]"));
  return absl::StrCat("{", absl::StrJoin(fields, ","), "}");
}

std::string AnswerHtml(const RhythmAnswer& answer, size_t number) {
  std::string out =
      absl::StrFormat("<article class=\"answer\" id=\"a%d\"><header><h3>%s</h3>", number, Shown(answer.title));
  if (!answer.verdict.empty()) {
    absl::StrAppend(&out, "<span class=\"", answer.good ? "ok" : "no", "\">", Shown(answer.verdict), "</span>");
  }
  out += "</header>\n";
  if (!answer.prompt.empty()) {
    absl::StrAppend(&out, "<details><summary>Prompt</summary><div class=\"prompt\">", Shown(answer.prompt),
                    "</div></details>\n");
  }
  absl::StrAppend(&out, "<div class=\"strip\"></div>", TokensHtml(answer), "<div class=\"maps\"></div>");
  return absl::StrCat(out, "<script type=\"application/json\">", DataJson(answer), "</script></article>\n");
}

// Every strategy's name once, in the order of appearance, when there is a choice.
std::string StrategyChoice(const std::vector<RhythmAnswer>& answers) {
  std::vector<std::string> names;
  for (const RhythmAnswer& answer : answers) {
    for (const TokenCredit& credit : answer.credits) {
      if (std::find(names.begin(), names.end(), credit.strategy) == names.end()) names.push_back(credit.strategy);
    }
  }
  if (names.size() < 2) return "";
  std::string out = "<label class=\"choice\">γ by <select>";
  for (const std::string& name : names) absl::StrAppend(&out, "<option>", Shown(name), "</option>");
  return out + "</select></label>";
}

template <typename Member>
bool Any(const std::vector<RhythmAnswer>& answers, Member member) {
  return std::any_of(answers.begin(), answers.end(), [member](const RhythmAnswer& a) { return !(a.*member).empty(); });
}

std::string KeyHtml(const std::vector<RhythmAnswer>& answers) {
  std::string out =
      "<div class=\"key\"><span class=\"scale\">credit γ <i class=\"c3\">below 1</i><i>1</i><i class=\"h2\">1.2</i>"
      "<i class=\"h5\">1.5 or more</i></span>";
  out += StrategyChoice(answers);
  if (Any(answers, &RhythmAnswer::waad)) {
    out +=
        "<span class=\"waad-key\" title=\"windowed average attention distance of the local heads, in tokens\">WAAD: "
        "how "
        "far back local heads look</span>";
  }
  if (Any(answers, &RhythmAnswer::fai)) {
    out +=
        "<span class=\"fai-key\" title=\"future attention influence: the mean weight that later tokens put here, over "
        "the "
        "global heads; drawn on a square-root scale\">FAI: how much later tokens look here (√ scale)</span>";
  }
  if (Any(answers, &RhythmAnswer::advantage)) {
    out +=
        "<span class=\"worth-key\" title=\"by how much the token changed the mean reward of what may follow\">A: what "
        "the token was worth, up or down</span>";
  }
  if (Any(answers, &RhythmAnswer::arcs)) {
    out +=
        "<span class=\"flow-key\" title=\"the largest steps of the flow of attention from the prompt to the answer; "
        "the "
        "thicker the more\">flow: steps from prompt to answer</span>";
  }
  if (Any(answers, &RhythmAnswer::lookers)) out += "<span class=\"look-key\">looks here most</span>";
  return out +
         "<span class=\"keys\"><kbd>←</kbd><kbd>→</kbd> token <kbd>↑</kbd><kbd>↓</kbd> line "
         "<kbd>Home</kbd><kbd>End</kbd> "
         "<kbd>PgUp</kbd><kbd>PgDn</kbd> answer</span></div>\n";
}

}  // namespace

std::string RhythmSection(const std::vector<RhythmAnswer>& answers) {
  std::string out = "<section class=\"rhythm\" aria-label=\"Answers\">\n" + KeyHtml(answers);
  for (size_t i = 0; i < answers.size(); ++i) out += AnswerHtml(answers[i], i + 1);
  return out + "<div class=\"tip\" aria-hidden=\"true\" hidden></div></section>\n";
}

std::string RhythmPageHtml(absl::string_view title, const std::vector<RhythmAnswer>& answers) {
  return HtmlPage(
      title, absl::StrCat("The attention rhythm of ", answers.size(), answers.size() == 1 ? " answer" : " answers"),
      kRhythmCss, RhythmSection(answers), kRhythmJs);
}

}  // namespace tactus
