#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <cstdlib>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/device/devices.h"

namespace tactus {
namespace {

constexpr int kOldestMajor = 8;  // the oldest of TACTUS_CUDA_ARCHITECTURES

// The driver's management library tells free memory without a context, which would itself take some 500 MB of each GPU
// for as long as the process lives. Its interface is stable; the wheels lack its header.
class ManagementLibrary {
 public:
  ManagementLibrary() : handle_(dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL), &Close) {
    const auto initialise = Find<int (*)()>("nvmlInit_v2");
    ready_ = initialise != nullptr && initialise() == 0;
  }
  ~ManagementLibrary() {
    const auto shut_down = Find<int (*)()>("nvmlShutdown");
    if (ready_ && shut_down != nullptr) shut_down();
  }
  ManagementLibrary(const ManagementLibrary&) = delete;
  ManagementLibrary& operator=(const ManagementLibrary&) = delete;

  std::optional<int64_t> FreeBytes(const char* pci_bus_id) const {
    struct Memory {  // nvmlMemory_t
      unsigned long long total = 0, free = 0, used = 0;
    } memory;
    void* device = nullptr;
    const auto find = Find<int (*)(const char*, void**)>("nvmlDeviceGetHandleByPciBusId_v2");
    const auto ask = Find<int (*)(void*, Memory*)>("nvmlDeviceGetMemoryInfo");
    if (!ready_ || find == nullptr || ask == nullptr) return std::nullopt;
    if (find(pci_bus_id, &device) != 0 || ask(device, &memory) != 0) return std::nullopt;
    return static_cast<int64_t>(memory.free);
  }

 private:
  static void Close(void* handle) {
    if (handle != nullptr) dlclose(handle);
  }
  template <typename Function>
  Function Find(const char* name) const {
    return handle_ == nullptr ? nullptr : reinterpret_cast<Function>(dlsym(handle_.get(), name));
  }

  std::unique_ptr<void, void (*)(void*)> handle_;
  bool ready_ = false;
};

std::string CudaVersionText(int version) { return absl::StrCat(version / 1000, ".", version % 1000 / 10); }

std::string WhyNone(cudaError_t error) {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return "no NVIDIA driver is installed here";
  if (error == cudaErrorInsufficientDriver) {
    return absl::StrCat("the NVIDIA driver is for CUDA ", CudaVersionText(driver), ", this build needs ",
                        CudaVersionText(CUDART_VERSION), " or newer");
  }
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  const std::string where = visible == nullptr ? "" : absl::StrCat(" (CUDA_VISIBLE_DEVICES is \"", visible, "\")");
  if (error == cudaErrorNoDevice || error == cudaSuccess) return absl::StrCat("the NVIDIA driver shows no GPU", where);
  return absl::StrCat("the NVIDIA driver fails, saying \"", cudaGetErrorString(error), "\"", where);
}

}  // namespace

GpuList ListGpus() {
  GpuList list;
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    list.why_none = WhyNone(error);
    return list;
  }
  const ManagementLibrary management;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    char bus_id[32] = "";
    const cudaError_t asked = cudaGetDeviceProperties(&properties, i);
    if (asked != cudaSuccess || cudaDeviceGetPCIBusId(bus_id, sizeof bus_id, i) != cudaSuccess) {
      list.why_none = WhyNone(asked);
      continue;
    }
    GpuInfo gpu{
        .index = i,
        .name = properties.name,
        .total_bytes = static_cast<int64_t>(properties.totalGlobalMem),
        .free_bytes = FreeBytesOf(management.FreeBytes(bus_id), static_cast<int64_t>(properties.totalGlobalMem)),
        .compute_major = properties.major,
        .compute_minor = properties.minor};
    if (gpu.compute_major < kOldestMajor) {
      list.why_none = absl::StrCat("the GPU here is too old: ", GpuText(gpu), ", and this build needs ", kOldestMajor,
                                   ".0 or newer");
    } else {
      list.gpus.push_back(std::move(gpu));
    }
  }
  if (!list.gpus.empty()) list.why_none.clear();
  return list;
}

}  // namespace tactus
