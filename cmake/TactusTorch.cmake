# tactus::torch: libtorch out of the pinned PyPI wheel in .venv (scripts/setup.sh puts it there).
# An imported target of our own: the wheel's TorchConfig.cmake demands a CUDA toolkit even for the CPU libraries.
# The wheel's include folder carries old protobuf headers, hence -idirafter: the system's are found first.
set(TACTUS_VENV ${CMAKE_SOURCE_DIR}/.venv CACHE PATH "Python environment that holds the torch wheel")
file(GLOB TACTUS_TORCH_DIR ${TACTUS_VENV}/lib/python3*/site-packages/torch)
if(NOT TACTUS_TORCH_DIR)
  message(FATAL_ERROR "No torch wheel under ${TACTUS_VENV}: run scripts/setup.sh first.")
endif()

add_library(tactus_torch INTERFACE)
foreach(folder include include/torch/csrc/api/include)
  target_compile_options(tactus_torch INTERFACE
    "SHELL:$<$<COMPILE_LANGUAGE:CXX>:-idirafter ${TACTUS_TORCH_DIR}/${folder}>"
    "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-idirafter,${TACTUS_TORCH_DIR}/${folder}>")
endforeach()
target_compile_options(tactus_torch INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wno-unused-parameter;-Wno-pedantic;-Wno-shadow>"
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wno-unused-parameter>)
target_link_libraries(tactus_torch INTERFACE
  ${TACTUS_TORCH_DIR}/lib/libtorch_cpu.so ${TACTUS_TORCH_DIR}/lib/libc10.so)
# No -rpath here: CMake adds the wheel's folder while building and takes it out again when installing.
target_link_options(tactus_torch INTERFACE
  -Wl,-rpath-link,${TACTUS_TORCH_DIR}/lib -Wl,--allow-shlib-undefined)
add_library(tactus::torch ALIAS tactus_torch)

# "2.11.0+cu130", for --version and metrics.
file(STRINGS ${TACTUS_TORCH_DIR}/version.py TACTUS_TORCH_VERSION REGEX "^__version__")
string(REGEX REPLACE ".*'(.*)'.*" "\\1" TACTUS_TORCH_VERSION "${TACTUS_TORCH_VERSION}")
