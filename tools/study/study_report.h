// The figures of `tactus rhythm-study`: JSON for machines, beside the paper's, and a table for people. Pure;
// thread-safe.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tools/study/rhythm_study.h"
#include "tools/study/study_perturb.h"

namespace tactus {

struct CouplingResults {
  CouplingResult entropy_at_waad_peaks, receiver_peak_is_fai_peak, receiver_peak_is_other_peak, fai_peak_follows_waad;
};

// A study that had nothing to measure has null in place of figures, and "none" in the table.
nlohmann::ordered_json CouplingsJson(const CouplingResults& results);
std::string CouplingsTable(const CouplingResults& results);
nlohmann::ordered_json PerturbJson(const PerturbResult& result);
std::string PerturbTable(const PerturbResult& result);

}  // namespace tactus
