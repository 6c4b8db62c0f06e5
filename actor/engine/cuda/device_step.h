// One engine step as flat arrays of int32: what a GPU gets in a single copy. Pure host code, no torch, no CUDA.
//
// Rows are put in an order of the device's own: first the decode rows, each one query against its own pages, then the
// rows of longer runs. The last row of a longer run whose attention is measured is a decode row too: keys and values of
// all rows are written before any is read, and only the decode path measures. So a row that is measured after a
// preemption is computed the way it would have been without one.
//
// A step of decode rows alone, each drawn from at most once, has a shape that recurs: it is padded to a bucket of rows
// and of pages, so that it can be recorded once as a graph. A padded row sees no key and writes nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "actor/engine/step_plan.h"

namespace tactus {

// A run longer than a row (without its last row, where that is a decode row).
struct DeviceRun {
  int32_t first_row = 0;  // in the device's order
  int32_t num_rows = 0;
  int32_t start_position = 0;
  int32_t table = 0;  // which of the page tables
};

struct DeviceStep {
  // Of the rows [R]:
  std::vector<int32_t> tokens, positions;
  std::vector<int32_t> slots;  // page * 16 + place in it, where the row's keys and values go; -1: nowhere
  // Of the decode rows, [0, B):
  std::vector<int32_t> contexts;               // keys that the row sees, its own among them; 0: padding
  std::vector<int32_t> tap_starts;             // P of a measured row, else -1
  std::vector<const ops::AttentionTap*> taps;  // null: not measured. The plan's
  bool measured = false;                       // any of them
  std::vector<DeviceRun> runs;
  int64_t table_pages = 0;           // of one page table
  std::vector<int32_t> page_tables;  // [B + runs, table_pages], decode rows first; what is past a sequence's pages is 0
  std::vector<int32_t> draw_rows;    // [N] of the plan's draws, in their order
  bool recurring = false;            // padded, and no row is drawn from twice

  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
  int64_t decode_rows() const { return static_cast<int64_t>(contexts.size()); }
};

// Fills `out` from a plan, reusing its memory; its taps point into the plan's. Buckets are of fewest_rows to most_rows
// rows.
void PlanDeviceStep(const StepPlan& plan, int64_t fewest_rows, int64_t most_rows, DeviceStep& out);

// The ends of stretches of copies that may run at once: none reads or writes what an earlier one of its stretch wrote,
// or writes what one reads.
std::vector<size_t> IndependentCopies(std::span<const PageCopy> copies);

}  // namespace tactus
