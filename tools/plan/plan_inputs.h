// What a plan rests on: the work of a step, and the rates of whoever does it, each with how it is known. Pure;
// thread-safe.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "common/config/config_fwd.h"
#include "common/model/folder/model_config.h"

namespace tactus {

// From the most to the least certain.
enum class Known { kConfigured, kMeasured, kAssumed };
const char* KnownName(Known known);  // "configured", …

struct Given {
  double value = 0;
  Known known = Known::kAssumed;
  std::string from = {};  // the field, what was measured, or why so much is assumed and the flag that says otherwise
};

// Of whole processes: an actor, and a learner rank that has all of the model's optimizer.
struct PlanInputs {
  // A step's work.
  Given prompts, completions, staleness, updates;
  Given prompt_tokens, answer_tokens, longest_tokens;  // means, and the most an answer may have
  Given trained_share;                                 // of the answers' tokens: groups without a signal are skipped
  Given places, continuations;                         // of an answer; from each of these: credit by VINE
  Given slots;                                         // sequences that an actor samples at once
  Given micro_batch_tokens, checkpoint_steps;          // checkpoint_steps 0: at the end alone
  Given streams;                                       // 1: groups are trained on as they come
  // The model.
  Given parameters, element_bytes;
  // Sampling: an engine step takes step_s, and row_s for each sequence in it; a prompt's token prefill_s.
  Given step_s, row_s, prefill_s;
  // Training: forward and backward pass of a token; AdamW and the rounding of all parameters, once.
  Given train_s, optimizer_s;
  // Bytes a second: out of a process to another one; hashed; copied aside; to the disk, hashed on the way.
  Given link, hash, copy, disk;
  Given sync_s;       // a small file, written and synced
  Given delta_share;  // what new weights take as a delta, of the whole set; 0: of this type there are none
};

// What an input has a part in; a figure rests on the inputs that share a part with it.
enum PlanPart : unsigned {
  kSampling = 1u << 0,
  kPasses = 1u << 1,
  kAnswers = 1u << 2,  // their bytes
  kOverlap = 1u << 3,
  kExchange = 1u << 4,
  kOptimizer = 1u << 5,
  kSet = 1u << 6,  // the size of the model
  kDelta = 1u << 7,
  kLink = 1u << 8,
  kHash = 1u << 9,
  kCopy = 1u << 10,
  kDisk = 1u << 11,
  kEvery = 1u << 12,   // how often
  kRounds = 1u << 13,  // micro-batches a rank and update: of divided gradients each is exchanged
};

struct PlanInputField {
  const char* key;
  const char* name;
  const char* unit;  // of the value: "", "tokens", "s", "bytes", "bytes/s", "ratio"
  Given PlanInputs::*member;
  unsigned parts;
};
std::span<const PlanInputField> PlanInputFields();

// What is known of a device and of the rest of the machine before anything was measured there.
struct DeviceFacts {
  Given flops;         // of one GPU, or of one core
  Given memory;        // bytes a second, likewise
  Given flops_share;   // that the passes reach
  Given memory_share;  // that decoding reaches
  Given link, hash, copy, disk, sync_s;

  static DeviceFacts OfGpu();   // of an H100's data sheet
  static DeviceFacts OfCore();  // of a server's core
};

// Work and model as the configuration says. Means of lengths are those of the longest, until somebody knows better.
PlanInputs InputsOf(const config::RunConfig& run, const ModelConfig& model);

// Fills in the rates from `facts`: of an actor and a rank on so many devices (GPUs: one; cores: their threads).
void AssumeRates(const ModelConfig& model, const DeviceFacts& facts, int actor_devices, int learner_devices,
                 bool recompute, PlanInputs& inputs);

// Numbers of a decoder's matrices, which a token is multiplied with.
double MatrixNumbers(const ModelConfig& model);

}  // namespace tactus
