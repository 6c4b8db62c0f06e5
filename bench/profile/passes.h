// A decode step and an update of a decoder, part by part, by the passes that actors and learners run.
#pragma once

#include "bench/profile/profile_case.h"
#include "common/model/cpu/decoder_weights_cpu.h"

namespace tactus {

// Each line has what is in `about`, too.
//
// One line a part of a decode step: `batch` sequences at `context` tokens, each with a row; forward, logits, draws at
// temperature 1. Keys and values are random.
void ProfileDecode(DecoderWeightsCpu& weights, int64_t batch, int64_t context, const nlohmann::json& about, int rounds,
                   RoofSamples& roofs);

// One line a part of an update: 8 answers of 128 tokens to a prompt of 64 that is computed once; forward, backward,
// norm, AdamW, and the new weights laid out for both. The weights change by nothing that matters.
void ProfileUpdate(DecoderWeightsCpu& weights, const nlohmann::json& about, int rounds, RoofSamples& roofs);

}  // namespace tactus
