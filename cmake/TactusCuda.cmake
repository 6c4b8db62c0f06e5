# Device code. tactus_cuda_library(name SRCS a.cu b_cuda.cc DEPS ...) and tactus_cuda_test(name SRCS ... DEPS ...) take
# *.cu and *_cuda.cc files and build them in one of two ways:
#
#   TACTUS_CUDA=ON   nvcc compiles *.cu for TACTUS_CUDA_ARCHITECTURES, g++ the rest; cudart is linked. No GPU is needed.
#   TACTUS_CUDA=OFF  g++ compiles all of it as C++, with TACTUS_CUDA_EMULATED defined: common/device/runtime_cuda.h then
#                    runs kernels on the CPU, for tests. No CUDA header or library is touched, but by runtime_api_test
#                    (tests/device), which has the real runtime over a stub of CUDA's.
#
# What can't be emulated (NCCL, cuBLAS, the driver) is added as a plain library under `if(TACTUS_CUDA)`, with one of
#   tactus::cudart, tactus::cublas, tactus::nccl, tactus::torch_cuda   (only there with TACTUS_CUDA=ON)
# All of it comes from the wheels that `scripts/setup.sh --cuda` puts into .venv.

if(TACTUS_CUDA)
  set(TACTUS_CUDA_ARCHITECTURES 80-real 90-real 100 CACHE STRING "GPU generations: machine code for each, PTX for the last")
  # NVIDIA's wheels share a folder beside torch's: nvidia/cu13 has the compiler and most libraries, the others their own.
  get_filename_component(TACTUS_NVIDIA_DIR ${TACTUS_TORCH_DIR}/../nvidia ABSOLUTE)
  set(TACTUS_CU_DIR ${TACTUS_NVIDIA_DIR}/cu13)
  foreach(file cu13/bin/nvcc cu13/nvvm/bin/cicc cu13/bin/crt/link.stub cu13/include/cccl/cub/cub.cuh
          cu13/lib/libcublas.so.13 nccl/include/nccl.h)
    if(NOT EXISTS ${TACTUS_NVIDIA_DIR}/${file})
      message(FATAL_ERROR "No ${file} under ${TACTUS_NVIDIA_DIR}: run scripts/setup.sh --cuda first.")
    endif()
  endforeach()

  set(CMAKE_CUDA_COMPILER ${TACTUS_CU_DIR}/bin/nvcc)
  set(CMAKE_CUDA_ARCHITECTURES ${TACTUS_CUDA_ARCHITECTURES})
  # The wheel has libcudart.so.13 but no libcudart.so, so -lcudart can't find it: tactus::cudart names the file.
  set(CMAKE_CUDA_RUNTIME_LIBRARY None)
  # nvcc looks for libraries in lib64, the wheel has lib. Only CMake's own probes of the compiler link through nvcc.
  set(ENV{LIBRARY_PATH} ${TACTUS_CU_DIR}/lib:$ENV{LIBRARY_PATH})
  enable_language(CUDA)
  # Debian 12's CMake does not know yet that nvcc has C++20.
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  if(TACTUS_CCACHE)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
  endif()

  # Every name in tactus_cuda_import's list is a file under nvidia/; an include folder is added when there is one.
  function(tactus_cuda_import name include)
    add_library(tactus_${name} INTERFACE)
    target_include_directories(tactus_${name} SYSTEM INTERFACE ${TACTUS_NVIDIA_DIR}/${include})
    foreach(library IN LISTS ARGN)
      target_link_libraries(tactus_${name} INTERFACE ${TACTUS_NVIDIA_DIR}/${library})
    endforeach()
    # NVIDIA's libraries need each other, across folders.
    foreach(folder cu13 cudnn cusparselt nccl nvshmem)
      target_link_options(tactus_${name} INTERFACE -Wl,-rpath-link,${TACTUS_NVIDIA_DIR}/${folder}/lib)
    endforeach()
    add_library(tactus::${name} ALIAS tactus_${name})
  endfunction()
  tactus_cuda_import(cudart cu13/include cu13/lib/libcudart.so.13)
  tactus_cuda_import(cublas cu13/include cu13/lib/libcublas.so.13 cu13/lib/libcublasLt.so.13 cu13/lib/libcudart.so.13)
  tactus_cuda_import(nccl nccl/include nccl/lib/libnccl.so.2)
  target_link_libraries(tactus_nccl INTERFACE tactus_cudart)
  # torch's own CUDA half: ProcessGroupNCCL is in it (compile with USE_C10D_NCCL). A program that links it loads over 2 GB
  # of libraries at start; raw NCCL and cuBLAS are lighter.
  tactus_cuda_import(torch_cuda cu13/include)
  target_link_libraries(tactus_torch_cuda INTERFACE
    ${TACTUS_TORCH_DIR}/lib/libtorch_cuda.so ${TACTUS_TORCH_DIR}/lib/libc10_cuda.so tactus_torch tactus_nccl tactus_cudart)

  # For --version.
  set(TACTUS_CUDA_VERSION ${CMAKE_CUDA_COMPILER_VERSION})
  file(STRINGS ${TACTUS_NVIDIA_DIR}/nccl/include/nccl.h TACTUS_NCCL_VERSION REGEX "define NCCL_(MAJOR|MINOR|PATCH) ")
  string(REGEX REPLACE "#define NCCL_[A-Z]+ ([0-9]+)" "\\1" TACTUS_NCCL_VERSION "${TACTUS_NCCL_VERSION}")
  list(JOIN TACTUS_NCCL_VERSION "." TACTUS_NCCL_VERSION)
  string(REGEX REPLACE "([0-9]+)(-real)?" "sm_\\1" TACTUS_GPU_TARGETS "${TACTUS_CUDA_ARCHITECTURES}")
  list(JOIN TACTUS_GPU_TARGETS " " TACTUS_GPU_TARGETS)
endif()

# How both kinds of compiler treat the sources of a device target.
function(tactus_cuda_sources target)
  set(device_sources ${ARGN})
  list(FILTER device_sources INCLUDE REGEX "\\.cu$")
  if(TACTUS_CUDA)
    target_link_libraries(${target} PUBLIC tactus::cudart)
  else()
    # CMake passes `-x c++` for a language that is set by hand.
    set_source_files_properties(${device_sources} PROPERTIES LANGUAGE CXX)
    target_compile_definitions(${target} PUBLIC TACTUS_CUDA_EMULATED)
  endif()
endfunction()

function(tactus_cuda_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  tactus_library(${name} SRCS ${ARG_SRCS} DEPS ${ARG_DEPS})
  tactus_cuda_sources(tactus_${name} ${ARG_SRCS})
endfunction()

function(tactus_cuda_test name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  tactus_test(${name} SRCS ${ARG_SRCS} DEPS ${ARG_DEPS})
  tactus_cuda_sources(${name} ${ARG_SRCS})
endfunction()
