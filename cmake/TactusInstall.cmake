# `cmake --install` and `cpack`: bin/ with the three programs, lib/ with every shared library they need except glibc's,
# share/tactus with configurations and models. The tree can be moved anywhere; it runs on any x86-64 Linux whose glibc
# is the build machine's or newer. libtorch_cpu alone is 450 MB: the tarball is large.
include(GNUInstallDirs)

file(GLOB TACTUS_WHEEL_LIB_DIRS ${TACTUS_TORCH_DIR}/lib ${TACTUS_TORCH_DIR}/../nvidia/*/lib ${TACTUS_ARROW_DIR})
set(TACTUS_PROGRAMS)
foreach(program tactus tactus-learner tactus-actor)
  if(TARGET ${program})
    list(APPEND TACTUS_PROGRAMS ${program})
  endif()
endforeach()
if(NOT TACTUS_PROGRAMS)
  return()
endif()

# DT_RPATH instead of DT_RUNPATH: it holds for the libraries' own libraries too, which Debian builds without either.
set_target_properties(${TACTUS_PROGRAMS} PROPERTIES INSTALL_RPATH "$ORIGIN/../lib")
foreach(program IN LISTS TACTUS_PROGRAMS)
  target_link_options(${program} PRIVATE -Wl,--disable-new-dtags)
endforeach()

install(TARGETS ${TACTUS_PROGRAMS}
        RUNTIME_DEPENDENCIES
          DIRECTORIES ${TACTUS_WHEEL_LIB_DIRS}
          POST_EXCLUDE_REGEXES "/(ld-linux-x86-64|libc|libm|libdl|librt|libpthread|libresolv|libutil|libnsl|libanl)\\.so\\.[0-9]+$"
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
        LIBRARY DESTINATION lib)
foreach(folder configs models)
  if(IS_DIRECTORY ${CMAKE_SOURCE_DIR}/${folder})
    install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_DATADIR}/tactus)
  endif()
endforeach()

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_FILE_NAME tactus-${PROJECT_VERSION}-linux-x86_64)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_SOURCE_DIR}/dist)
set(CPACK_STRIP_FILES OFF)
set(CPACK_THREADS 0)
include(CPack)
