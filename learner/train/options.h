// From the configuration's messages to the options of the training code: the one place where protobuf stops here.
#pragma once

#include "common/model/dtype.h"
#include "learner/train/adamw.h"
#include "learner/train/lr_schedule.h"
#include "proto/config.pb.h"

namespace tactus {

inline StorageDType StorageDTypeOf(config::DType dtype) {
  return dtype == config::BFLOAT16 ? StorageDType::kBFloat16 : StorageDType::kFloat32;
}

inline AdamWOptions AdamWOptionsOf(const config::OptimizerOptions& options) {
  return {.beta1 = options.beta1(),
          .beta2 = options.beta2(),
          .eps = options.eps(),
          .weight_decay = options.weight_decay(),
          .max_grad_norm = options.max_grad_norm()};
}

inline LrSchedule LrScheduleOf(const config::OptimizerOptions& options, int64_t total_steps) {
  return {.lr = options.lr(),
          .warmup_steps = options.warmup_steps(),
          .shape = options.schedule() == config::OptimizerOptions::COSINE ? LrSchedule::Shape::kCosine
                                                                          : LrSchedule::Shape::kConstant,
          .min_lr_ratio = options.min_lr_ratio(),
          .total_steps = total_steps};
}

}  // namespace tactus
