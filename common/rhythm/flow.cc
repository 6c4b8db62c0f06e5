#include "common/rhythm/flow.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <numeric>
#include <tuple>

namespace tactus {
namespace {

// The smallest of the `entries` largest values above 0; 0 when there are no more than that.
float Threshold(std::span<const float> row, int64_t entries) {
  if (static_cast<int64_t>(row.size()) <= entries) return 0;
  std::vector<float> values(row.begin(), row.end());
  std::nth_element(values.begin(), values.begin() + (entries - 1), values.end(), std::greater<>());
  return std::max(0.0f, values[static_cast<size_t>(entries - 1)]);
}

// Sum of h over the positions without a row, in their order.
double ReachWithoutRow(const FlowRows& rows, std::span<const double> reach) {
  double sum = 0;
  auto row = rows.own_positions.begin();
  for (size_t i = 0; i < reach.size(); ++i) {
    if (row != rows.own_positions.end() && static_cast<size_t>(*row) == i) {
      ++row;
    } else {
      sum += reach[i];
    }
  }
  return sum;
}

}  // namespace

void AppendRow(std::span<const float> row, int64_t entries, FlowRows& rows) {
  assert(static_cast<int64_t>(row.size()) >= rows.prompt_tokens + rows.response_tokens() && entries > 0);
  const float threshold = Threshold(row, entries);
  // Of those that are equal to the threshold, the earlier fill what the larger ones leave.
  int64_t equal = threshold > 0 ? entries - std::ranges::count_if(row, [&](float p) { return p > threshold; }) : 0;
  double dropped = 0;
  for (size_t j = 0; j < row.size(); ++j) {
    if (row[j] > threshold || (row[j] == threshold && row[j] > 0 && equal-- > 0)) {
      rows.positions.push_back(static_cast<int32_t>(j));
      rows.weights.push_back(row[j]);
    } else {
      dropped += double{row[j]};
    }
  }
  rows.own_positions.push_back(static_cast<int32_t>(row.size()));
  rows.row_starts.push_back(static_cast<int64_t>(rows.positions.size()));
  rows.discarded.push_back(static_cast<float>(dropped));
}

Flow TraceFlow(const FlowRows& rows, TokenRange answer) {
  const int64_t prompt = rows.prompt_tokens, tokens = rows.tokens();
  assert(0 <= answer.begin && answer.begin <= answer.end && answer.end <= rows.response_tokens());
  Flow flow;
  flow.answer = answer;
  flow.reach.assign(static_cast<size_t>(prompt + rows.response_tokens()), 0.0);
  flow.arrived.assign(flow.reach.size(), 1.0);  // which stays where there is no row
  flow.throughput.assign(flow.reach.size(), 0.0);
  const auto ends = [&](int64_t position) {
    return position >= prompt + answer.begin && position < prompt + answer.end;
  };
  const auto own = [&](int64_t t) { return static_cast<size_t>(rows.own_positions[static_cast<size_t>(t)]); };
  const auto each_entry = [&](int64_t t, auto&& visit) {
    for (int64_t e = rows.row_starts[static_cast<size_t>(t)]; e < rows.row_starts[static_cast<size_t>(t + 1)]; ++e) {
      visit(static_cast<size_t>(rows.positions[static_cast<size_t>(e)]), double{rows.weights[static_cast<size_t>(e)]});
    }
  };
  std::fill_n(flow.reach.begin() + prompt + answer.begin, answer.end - answer.begin, 1.0);
  for (int64_t t = tokens - 1; t >= 0; --t) {
    const double reach = flow.reach[own(t)];
    if (reach == 0) continue;
    each_entry(t, [&](size_t from, double weight) {
      if (!ends(static_cast<int64_t>(from))) flow.reach[from] += weight * reach;
    });
  }
  double kept = 0, dropped = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    double arrived = 0;
    each_entry(t, [&](size_t from, double weight) {
      kept += weight;
      if (!ends(static_cast<int64_t>(from))) arrived += weight * flow.arrived[from];
    });
    flow.arrived[own(t)] = arrived;
    dropped += double{rows.discarded[static_cast<size_t>(t)]};
  }
  if (kept + dropped > 0) flow.discarded = dropped / (kept + dropped);
  flow.total = ReachWithoutRow(rows, flow.reach);
  if (flow.total <= 0) return flow;
  for (size_t i = 0; i < flow.reach.size(); ++i) flow.throughput[i] = flow.arrived[i] * flow.reach[i] / flow.total;
  return flow;
}

std::vector<double> FlowCredit(const FlowRows& rows, const Flow& flow) {
  std::vector<double> credit;
  for (const int32_t position : rows.own_positions) {
    const int64_t token = position - rows.prompt_tokens;
    const bool inside = token >= flow.answer.begin && token < flow.answer.end;
    credit.push_back(inside ? 0.0 : flow.throughput[static_cast<size_t>(position)]);
  }
  return credit;
}

std::vector<FlowEdge> FlowBackbone(const FlowRows& rows, const Flow& flow, size_t count) {
  std::vector<FlowEdge> edges;
  if (flow.total <= 0) return edges;
  const int64_t prompt = rows.prompt_tokens;
  for (int64_t t = 0; t < rows.tokens(); ++t) {
    const int32_t own = rows.own_positions[static_cast<size_t>(t)];
    const double reach = flow.reach[static_cast<size_t>(own)] / flow.total;
    for (int64_t e = rows.row_starts[static_cast<size_t>(t)]; e < rows.row_starts[static_cast<size_t>(t + 1)]; ++e) {
      const int32_t from = rows.positions[static_cast<size_t>(e)];
      if (from >= prompt + flow.answer.begin && from < prompt + flow.answer.end) continue;
      const double through = flow.arrived[static_cast<size_t>(from)] * rows.weights[static_cast<size_t>(e)] * reach;
      if (through > 0) edges.push_back({from, own, through});
    }
  }
  const auto before = [](const FlowEdge& a, const FlowEdge& b) {
    return std::tuple(-a.flow, a.to, a.from) < std::tuple(-b.flow, b.to, b.from);
  };
  count = std::min(count, edges.size());
  std::partial_sort(edges.begin(), edges.begin() + static_cast<int64_t>(count), edges.end(), before);
  edges.resize(count);
  return edges;
}

}  // namespace tactus
