// A made-up answer whose attention has what real answers show: chunks, anchors, a sink. For tests and pictures.
#pragma once

#include <cstdint>

#include "tools/report/rhythm_page.h"

namespace tactus {

// The same for the same arguments, on every machine. N = num_tokens; everything is filled in.
RhythmAnswer MadeUpAnswer(int number, int64_t num_tokens);

}  // namespace tactus
