# One target per component, with its dependencies in the open. Targets are linked as tactus::<name>.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

find_program(TACTUS_CCACHE ccache)
if(TACTUS_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}
      CCACHE_NOHASHDIR=1 ${TACTUS_CCACHE})
endif()

option(TACTUS_ASSERTIONS "Keep assert() and check indices in the standard library" OFF)
set(TACTUS_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize= takes them")

add_library(tactus_options INTERFACE)
target_include_directories(tactus_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
target_compile_options(tactus_options INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wnon-virtual-dtor;-Werror>"
  $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off> -fno-math-errno -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
# nvcc's generated host code is not pedantic. --fmad=false is what -ffp-contract=off is on the CPU: a product and a sum are
# fused where the source says fmaf, and nowhere else.
target_compile_options(tactus_options INTERFACE
  "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Werror,-ffp-contract=off;--Werror=all-warnings;--fmad=false>")
# clang reads the locks' annotations, and does not know each of gcc's warnings.
target_compile_options(tactus_options INTERFACE
  "$<$<CXX_COMPILER_ID:Clang>:-Wthread-safety;-Wno-unknown-warning-option>")
if(TACTUS_ASSERTIONS)
  target_compile_options(tactus_options INTERFACE -UNDEBUG -D_GLIBCXX_ASSERTIONS)
endif()
if(TACTUS_SANITIZE)
  # What one reports ends the process: a report that a test survives is read by nobody.
  target_compile_options(tactus_options INTERFACE -fsanitize=${TACTUS_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  # gcc's documentation: under sanitizers this warning is often wrong.
  target_compile_options(tactus_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_link_options(tactus_options INTERFACE -fsanitize=${TACTUS_SANITIZE})
endif()

# tactus_library(name SRCS a.cc ... DEPS tactus::x absl::y ...)
function(tactus_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  if(ARG_SRCS)
    add_library(tactus_${name} STATIC ${ARG_SRCS})
    target_link_libraries(tactus_${name} PUBLIC ${ARG_DEPS} PRIVATE tactus_options)
    target_include_directories(tactus_${name} PUBLIC ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
  else()
    add_library(tactus_${name} INTERFACE)
    target_link_libraries(tactus_${name} INTERFACE ${ARG_DEPS})
    target_include_directories(tactus_${name} INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
  endif()
  add_library(tactus::${name} ALIAS tactus_${name})
endfunction()

# tactus_binary(name SRCS main.cc DEPS ...)
function(tactus_binary name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} tactus_options)
endfunction()

# tactus_test(name SRCS x_test.cc DEPS ...): one GoogleTest binary in build/<preset>/tests, run by scripts/test.sh.
function(tactus_test name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} tactus::test_tree GTest::gmock GTest::gtest GTest::gtest_main tactus_options)
  add_test(NAME ${name} COMMAND ${name})
endfunction()
