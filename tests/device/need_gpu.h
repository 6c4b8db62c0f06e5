// For tests of device code: NEED_GPU() skips the test, with the reason, where kernels need a GPU and there is none.
#pragma once

#include "common/device/devices.h"
#include "common/device/runtime_cuda.h"
#include "gtest/gtest.h"

#define NEED_GPU()                                                                                            \
  do {                                                                                                        \
    const ::tactus::GpuList here = ::tactus::ListGpus();                                                      \
    if (!::tactus::device::Emulated() && here.gpus.empty()) GTEST_SKIP() << "needs a GPU: " << here.why_none; \
  } while (0)
