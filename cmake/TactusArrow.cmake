# tactus::arrow: Apache Arrow's C++ libraries, with Parquet, out of the pinned PyPI wheel in .venv (scripts/setup.sh puts
# it there), and tactus::arrow_s3, its client of S3. Only common/data/parquet_rows.cc, common/storage/arrow_store.cc and tests
# that write such files see its headers: they link it PRIVATE.
file(GLOB TACTUS_ARROW_DIR ${TACTUS_VENV}/lib/python3*/site-packages/pyarrow)
file(GLOB TACTUS_ARROW_LIBRARY ${TACTUS_ARROW_DIR}/libarrow.so.*)
file(GLOB TACTUS_PARQUET_LIBRARY ${TACTUS_ARROW_DIR}/libparquet.so.*)
file(GLOB TACTUS_ARROW_S3_LIBRARY ${TACTUS_ARROW_DIR}/libarrow_s3.so.*)
if(NOT TACTUS_ARROW_LIBRARY OR NOT TACTUS_PARQUET_LIBRARY OR NOT TACTUS_ARROW_S3_LIBRARY)
  message(FATAL_ERROR "No pyarrow wheel under ${TACTUS_VENV}: run scripts/setup.sh, which adds it.")
endif()

add_library(tactus_arrow INTERFACE)
target_compile_options(tactus_arrow INTERFACE
  "SHELL:$<$<COMPILE_LANGUAGE:CXX>:-idirafter ${TACTUS_ARROW_DIR}/include>"
  "$<$<COMPILE_LANGUAGE:CXX>:-Wno-unused-parameter;-Wno-shadow>")
target_link_libraries(tactus_arrow INTERFACE ${TACTUS_PARQUET_LIBRARY} ${TACTUS_ARROW_LIBRARY})
# No -rpath here, as in TactusTorch.cmake.
target_link_options(tactus_arrow INTERFACE -Wl,-rpath-link,${TACTUS_ARROW_DIR})
add_library(tactus::arrow ALIAS tactus_arrow)

add_library(tactus_arrow_s3 INTERFACE)
target_link_libraries(tactus_arrow_s3 INTERFACE ${TACTUS_ARROW_S3_LIBRARY})
add_library(tactus::arrow_s3 ALIAS tactus_arrow_s3)
