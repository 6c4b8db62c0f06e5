// The page about the attention rhythm: answers as tokens coloured by credit, WAAD and FAI as lines above them, the flow
// from prompt to answer as arcs, the head map and two heads' attention. Value types and pure functions, thread-safe.
// Every text is escaped: answers are not trusted. What is measured: common/rhythm/rhythm.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tools/report/attention_view.h"

namespace tactus {

// Credit weights by one strategy.
struct TokenCredit {
  std::string strategy = {};       // "COUPLED"; may be empty when it is the only one
  std::vector<double> gamma = {};  // [N], 1 = neutral
};

// The sampled heads, numbered slot * heads per layer + head.
struct HeadMap {
  std::vector<int32_t> layers = {};              // [L'] the numbers of the sampled layers
  std::vector<double> span = {};                 // [L' * heads per layer] mean backward distance, tokens
  std::vector<int32_t> local = {}, global = {};  // indices into span
};

// Flow from one token to a later one.
struct FlowArc {
  int32_t from = -1;  // index of a token; -1: any of the prompt's
  int32_t to = 0;
  double flow = 0;  // share of all
};

// What is empty is not drawn. N = tokens.size(); a list per token of another length counts as empty. A value that is
// not finite is a gap.
struct RhythmAnswer {
  std::string title = {};    // "step 12 · prompt 3 · completion 0"
  std::string verdict = {};  // "right", after the title
  bool good = false;         // the verdict's colour
  std::string prompt = {};
  std::vector<std::string> tokens = {};   // [N] valid UTF-8
  std::vector<TokenCredit> credits = {};  // the first is shown; the reader may choose another
  std::vector<double> waad = {}, delta = {}, fai = {}, entropy = {}, logprobs = {};  // [N]
  std::vector<double> flow = {};                                                     // [N] throughput (flow.h)
  std::vector<FlowArc> arcs = {};
  std::vector<double> advantage = {};             // [N] what the token was worth: credit_truth.h
  double waad_window = 10;                        // W, the top of WAAD's axis
  std::vector<std::vector<Looker>> lookers = {};  // [N] at most 3 each, the heaviest first
  HeadMap heads = {};
  std::vector<AttentionImage> images = {};
};

// The answers as markup, for a page that has web/rhythm.css and ends with web/rhythm.js. Once per page.
std::string RhythmSection(const std::vector<RhythmAnswer>& answers);

// A whole page. A link to it may end in "#a2t34": token 34 of the second answer is then shown.
std::string RhythmPageHtml(absl::string_view title, const std::vector<RhythmAnswer>& answers);

}  // namespace tactus
