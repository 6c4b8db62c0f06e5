// How information flows from the prompt to the answer along attention: tokens are nodes, what a row pays to an earlier
// token is the capacity of the edge from there, and a token's credit is how much of the flow passes it.
// Pure functions; thread-safe. After FlowTracer (arXiv 2606.10646); docs/rhythm.md has the definition and our choices.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tactus {

struct FlowOptions {
  int64_t row_entries = 32;   // kept of each row
  int64_t answer_tokens = 8;  // the answer's region where nothing else says which it is
};

// For each of N tokens that the model sampled its row of attention, a mean over heads, to the positions before its own:
// the largest entries, by position. 8 bytes an entry. Positions without a row are the prompt's and, in a conversation,
// the environment's: flow enters there.
struct FlowRows {
  int64_t prompt_tokens = 0;              // P
  std::vector<int32_t> own_positions;     // [N] increasing, the first at least P
  std::vector<int64_t> row_starts = {0};  // [N + 1]
  std::vector<int32_t> positions;         // of a row: increasing, below its own
  std::vector<float> weights;             // above 0
  std::vector<float> discarded;           // [N] what the row pays to positions before its own that were not kept

  int64_t tokens() const { return static_cast<int64_t>(discarded.size()); }
  // T of the P + T positions up to the last row's own.
  int64_t response_tokens() const { return own_positions.empty() ? 0 : own_positions.back() + 1 - prompt_tokens; }
};

// Appends the row of the token at position row.size(), its own position left out: behind the row before. The `entries`
// largest that are above 0 are kept, the earlier of equal ones.
void AppendRow(std::span<const float> row, int64_t entries, FlowRows& rows);

// Tokens begin .. end - 1 of a response, counted from its first one, whoever wrote it.
struct TokenRange {
  int64_t begin = 0;
  int64_t end = 0;
};

struct Flow {
  TokenRange answer;               // where flow ends
  std::vector<double> reach;       // [P + T] h: what of a unit at this token reaches the answer
  std::vector<double> arrived;     // [P + T] f: what of a unit at every token without a row arrives here
  std::vector<double> throughput;  // [P + T] share of all flow from those to the answer that passes this token
  double total = 0;                // sum of h over those; 0: no way leads from there, and throughput is 0
  double discarded = 0;            // share of what all rows pay to earlier tokens that was not kept
};

// answer: within the T tokens, all of them with a row.
Flow TraceFlow(const FlowRows& rows, TokenRange answer);

// [N] throughput of each token with a row outside the answer, 0 inside: what FLOW chooses by.
std::vector<double> FlowCredit(const FlowRows& rows, const Flow& flow);

// The share of the flow that takes the edge from one position to a later token's.
struct FlowEdge {
  int32_t from = 0, to = 0;  // positions
  double flow = 0;
};

// The `count` edges with the most flow, all above 0: the largest first, then by `to` and `from`.
std::vector<FlowEdge> FlowBackbone(const FlowRows& rows, const Flow& flow, size_t count);

}  // namespace tactus
