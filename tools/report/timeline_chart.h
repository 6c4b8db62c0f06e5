// Who worked when, as lanes: the learner's, and one of each actor. web/chart.js draws it. Pure, thread-safe.
#pragma once

#include <string>
#include <vector>

#include "common/metrics/timeline.h"

namespace tactus {

// A <figure> of these steps, which follow each other, with the numbers for the script and a table for who runs none.
// "" without steps. At most 32 actors are drawn.
std::string TimelineHtml(const std::vector<StepTimeline>& steps);

}  // namespace tactus
