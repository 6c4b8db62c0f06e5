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

// For each of N response tokens its row of attention, a mean over heads, to the positions before its own: the largest
// entries, by position. 8 bytes an entry.
struct FlowRows {
  int64_t prompt_tokens = 0;              // P
  std::vector<int64_t> row_starts = {0};  // [N + 1]
  std::vector<int32_t> positions;         // of row t: increasing, below P + t
  std::vector<float> weights;             // above 0
  std::vector<float> discarded;           // [N] what the row pays to positions before its own that were not kept

  int64_t tokens() const { return static_cast<int64_t>(discarded.size()); }
};

// Appends the row of token t = rows.tokens(): row [P + t], its own position left out. The `entries` largest that are
// above 0 are kept, the earlier of equal ones.
void AppendRow(std::span<const float> row, int64_t entries, FlowRows& rows);

// Tokens begin .. end - 1 of a response.
struct TokenRange {
  int64_t begin = 0;
  int64_t end = 0;
};

struct Flow {
  TokenRange answer;               // where flow ends
  std::vector<double> reach;       // [P + N] h: what of a unit at this token reaches the answer
  std::vector<double> arrived;     // [P + N] f: what of a unit at every prompt token arrives here
  std::vector<double> throughput;  // [P + N] share of all flow from the prompt to the answer that passes this token
  double total = 0;                // sum of h over the prompt; 0: no way leads from there, and throughput is 0
  double discarded = 0;            // share of what all rows pay to earlier tokens that was not kept
};

// answer: within the N tokens.
Flow TraceFlow(const FlowRows& rows, TokenRange answer);

// [N] throughput of each response token outside the answer, 0 inside: what FLOW chooses by.
std::vector<double> FlowCredit(const FlowRows& rows, const Flow& flow);

// The share of the flow that takes the edge from one position to a later token's.
struct FlowEdge {
  int32_t from = 0, to = 0;  // positions
  double flow = 0;
};

// The `count` edges with the most flow, all above 0: the largest first, then by `to` and `from`.
std::vector<FlowEdge> FlowBackbone(const FlowRows& rows, const Flow& flow, size_t count);

}  // namespace tactus
