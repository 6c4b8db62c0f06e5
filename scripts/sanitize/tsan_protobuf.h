// Included first by what uses messages in the preset `tsan`: protobuf's maps have two more fields where the compiler
// instruments, which the packaged libprotobuf, compiled without, knows nothing of.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#pragma push_macro("__SANITIZE_THREAD__")
#undef __SANITIZE_THREAD__
#include <google/protobuf/map_field.h>
#pragma pop_macro("__SANITIZE_THREAD__")
