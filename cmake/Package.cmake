# SPDX-License-Identifier: Apache-2.0
# The Debian package of this build, made by `cpack` in the build folder: indexcache-search without
# CUDA, indexcache-search-cuda with it. Only one of them can be installed; the one with CUDA has all
# of the other. Dependencies are those of the system that it is built on (packaging/build-deb.sh).
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VENDOR "the authors of ${PROJECT_NAME}")
set(INDEXCACHE_PACKAGE_MAINTAINER "${CPACK_PACKAGE_VENDOR} <root@localhost>" CACHE STRING
  "Maintainer of the Debian package, with an address (build-deb.sh takes DEBFULLNAME and DEBEMAIL)")
mark_as_advanced(INDEXCACHE_PACKAGE_MAINTAINER)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER ${INDEXCACHE_PACKAGE_MAINTAINER})
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE
  GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(summary "find index-sharing patterns of sparse-attention language models")
string(CONCAT CPACK_DEBIAN_PACKAGE_DESCRIPTION
  "Models with DeepSeek Sparse Attention (DeepSeek-V3.2, GLM-5) run a lightning\n"
  "indexer in every layer. This tool searches for layers that can reuse the top-k\n"
  "positions of an earlier layer, with the model's own loss, verifies the pattern\n"
  "on data that the search did not see, and writes it as vLLM, SGLang and other\n"
  "engines take it.")

if(INDEXCACHE_CUDA)
  set(CPACK_DEBIAN_PACKAGE_NAME ${PROJECT_NAME}-cuda)
  set(CPACK_DEBIAN_PACKAGE_PROVIDES "${PROJECT_NAME} (= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})")
  set(CPACK_DEBIAN_PACKAGE_CONFLICTS ${PROJECT_NAME})
  set(CPACK_DEBIAN_PACKAGE_REPLACES ${PROJECT_NAME})
  set(CPACK_DEBIAN_PACKAGE_SECTION contrib/science)
  # Debian has neither: NVIDIA's repository does. dpkg-shlibdeps knows nothing of a toolkit that was
  # installed in other ways, so the package is named here.
  set(cuda ${CUDAToolkit_VERSION_MAJOR}-${CUDAToolkit_VERSION_MINOR})
  set(driver 525)
  if(CUDAToolkit_VERSION_MAJOR GREATER_EQUAL 13)
    set(driver 580)
  endif()
  set(CPACK_DEBIAN_PACKAGE_DEPENDS "libcublas-${cuda}")
  set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "libcuda1 (>= ${driver})")
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CUDAToolkit_LIBRARY_DIR})
  list(JOIN CMAKE_CUDA_ARCHITECTURES ", " architectures)
  string(REPLACE "-real" "" architectures "${architectures}")
  string(APPEND summary " (CUDA)")
  string(APPEND CPACK_DEBIAN_PACKAGE_DESCRIPTION
    "\n\nThis package computes on NVIDIA GPUs and on CPUs. It has code for the\n"
    "compute capabilities ${architectures}. It needs cuBLAS of\n"
    "CUDA ${CUDAToolkit_VERSION_MAJOR}.${CUDAToolkit_VERSION_MINOR} from NVIDIA's repository and, "
    "to use a GPU, a driver of\nversion ${driver} or newer.")
else()
  set(CPACK_DEBIAN_PACKAGE_NAME ${PROJECT_NAME})
  set(CPACK_DEBIAN_PACKAGE_CONFLICTS ${PROJECT_NAME}-cuda)
  set(CPACK_DEBIAN_PACKAGE_REPLACES ${PROJECT_NAME}-cuda)
  string(APPEND CPACK_DEBIAN_PACKAGE_DESCRIPTION
    "\n\nThis package computes only on CPUs (x86-64-v2 and newer);\n"
    "${PROJECT_NAME}-cuda uses GPUs, too.")
endif()
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "${summary}\n${CPACK_DEBIAN_PACKAGE_DESCRIPTION}")

# What Debian's policy asks of documents, in the staged tree.
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/DebianDocuments.cmake)
include(CPack)
