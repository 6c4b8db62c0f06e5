// The generated types of proto/config.proto by name. Headers include this; proto/config.pb.h, which changes with every
// option, is for the .cc files that read options.
#pragma once

namespace tactus::config {

class RolloutOptions;
class RunConfig;
class ModelOptions;
class TaskOptions;
class CreditOptions;
class ServiceOptions;
enum DType : int;

}  // namespace tactus::config
