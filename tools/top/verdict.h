// Who waits for whom, in one sentence, from a frame's numbers. Pure; thread-safe.
#pragma once

#include <string>

#include "tools/top/source.h"

namespace tactus::top {

// The share of the learner's time that it waits for trajectories, or NaN.
double LearnerWaitShare(const Frame& frame);

std::string Verdict(const Frame& frame);

}  // namespace tactus::top
