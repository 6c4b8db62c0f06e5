#include "actor/engine/cuda/device_step.h"

#include <algorithm>
#include <unordered_set>

#include "common/ops/step_sizes.h"

namespace tactus {
namespace {

const ops::AttentionTap* TapOf(const StepPlan& plan, size_t run) {
  if (run >= plan.batch.taps.size() || plan.batch.taps[run].span_sum == nullptr) return nullptr;
  return &plan.batch.taps[run];
}

bool AnyRowTwice(const std::vector<RowDraw>& draws) {
  return std::adjacent_find(draws.begin(), draws.end(),
                            [](const RowDraw& a, const RowDraw& b) { return a.row == b.row; }) != draws.end();
}

// Lays the rows of one plan out; `row_of` [T] becomes each plan row's place.
class Layout {
 public:
  Layout(const StepPlan& plan, DeviceStep& out) : plan_(plan), out_(out), row_of_(plan.batch.token_ids.size()) {}

  void AddRows() {
    const std::vector<SequenceRun>& runs = plan_.batch.runs;
    for (size_t i = 0; i < runs.size(); ++i) {
      const ops::AttentionTap* tap = TapOf(plan_, i);
      if (runs[i].num_rows == 1 || tap != nullptr) AddDecodeRow(runs[i], tap);
    }
    for (size_t i = 0; i < runs.size(); ++i) {
      const int64_t rows = runs[i].num_rows - (TapOf(plan_, i) != nullptr ? 1 : 0);
      if (runs[i].num_rows > 1 && rows > 0) AddRun(runs[i], rows);
    }
  }

  void AddTables() {
    for (const SequenceRun* run : tables_) {
      out_.table_pages = std::max(out_.table_pages, PagesOf(*run));
    }
    out_.table_pages = ops::PageBucket(out_.table_pages);
    out_.page_tables.assign(tables_.size() * static_cast<size_t>(out_.table_pages), 0);
    for (size_t i = 0; i < tables_.size(); ++i) {
      std::copy_n(tables_[i]->page_table.begin(), PagesOf(*tables_[i]),
                  out_.page_tables.begin() + static_cast<int64_t>(i) * out_.table_pages);
    }
  }

  int32_t RowOf(int32_t plan_row) const { return row_of_[static_cast<size_t>(plan_row)]; }

 private:
  static int64_t PagesOf(const SequenceRun& run) {
    return (run.start_position + run.num_rows + kPageTokens - 1) / kPageTokens;
  }

  void AddRow(const SequenceRun& run, int64_t r) {
    const int64_t position = run.start_position + r;
    row_of_[static_cast<size_t>(run.first_row + r)] = static_cast<int32_t>(out_.rows());
    out_.tokens.push_back(plan_.batch.token_ids[static_cast<size_t>(run.first_row + r)]);
    out_.positions.push_back(static_cast<int32_t>(position));
    out_.slots.push_back(run.page_table[static_cast<size_t>(position / kPageTokens)] * kPageTokens +
                         static_cast<int32_t>(position % kPageTokens));
  }

  void AddDecodeRow(const SequenceRun& run, const ops::AttentionTap* tap) {
    AddRow(run, run.num_rows - 1);
    out_.contexts.push_back(static_cast<int32_t>(run.start_position + run.num_rows));
    out_.tap_starts.push_back(tap == nullptr ? -1 : static_cast<int32_t>(tap->prompt_tokens));
    out_.taps.push_back(tap);
    out_.measured = out_.measured || tap != nullptr;
    tables_.push_back(&run);
  }

  void AddRun(const SequenceRun& run, int64_t rows) {
    out_.runs.push_back({.first_row = static_cast<int32_t>(out_.rows()),
                         .num_rows = static_cast<int32_t>(rows),
                         .start_position = static_cast<int32_t>(run.start_position),
                         .table = static_cast<int32_t>(tables_.size())});
    for (int64_t r = 0; r < rows; ++r) AddRow(run, r);
    tables_.push_back(&run);
  }

  const StepPlan& plan_;
  DeviceStep& out_;
  std::vector<int32_t> row_of_;
  std::vector<const SequenceRun*> tables_;
};

void Clear(DeviceStep& step) {
  for (std::vector<int32_t>* values : {&step.tokens, &step.positions, &step.slots, &step.contexts, &step.tap_starts,
                                       &step.page_tables, &step.draw_rows}) {
    values->clear();
  }
  step.taps.clear();
  step.runs.clear();
  step.table_pages = 0;
  step.measured = step.recurring = false;
}

void PadRows(int64_t rows, DeviceStep& step) {
  const size_t count = static_cast<size_t>(rows);
  step.tokens.resize(count, 0);
  step.positions.resize(count, 0);
  step.slots.resize(count, -1);
  step.contexts.resize(count, 0);
  step.tap_starts.resize(count, -1);
  step.taps.resize(count, nullptr);
  step.page_tables.resize(count * static_cast<size_t>(step.table_pages), 0);
}

}  // namespace

void PlanDeviceStep(const StepPlan& plan, int64_t fewest_rows, int64_t most_rows, DeviceStep& out) {
  Clear(out);
  Layout layout(plan, out);
  layout.AddRows();
  layout.AddTables();
  for (const RowDraw& draw : plan.draws) out.draw_rows.push_back(layout.RowOf(draw.row));
  out.recurring = out.runs.empty() && out.decode_rows() > 0 && !AnyRowTwice(plan.draws);
  if (out.recurring) PadRows(ops::RowBucket(std::max(out.rows(), fewest_rows), most_rows), out);
}

std::vector<size_t> IndependentCopies(std::span<const PageCopy> copies) {
  std::vector<size_t> ends;
  std::unordered_set<int32_t> read, written;
  for (size_t i = 0; i < copies.size(); ++i) {
    if (written.contains(copies[i].from) || written.contains(copies[i].to) || read.contains(copies[i].to)) {
      ends.push_back(i);
      read.clear();
      written.clear();
    }
    read.insert(copies[i].from);
    written.insert(copies[i].to);
  }
  if (!copies.empty()) ends.push_back(copies.size());
  return ends;
}

}  // namespace tactus
