# SPDX-License-Identifier: Apache-2.0
# Everything comes from Debian or Ubuntu packages; scripts/packages.sh names them.
find_package(OpenMP REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(fmt 9 REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(yaml-cpp 0.7 REQUIRED)
find_package(CLI11 2.1 REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(PNG REQUIRED)
set(HDF5_PREFER_PARALLEL OFF)
find_package(HDF5 REQUIRED COMPONENTS C)

# yaml-cpp 0.7 exports "yaml-cpp", 0.8 "yaml-cpp::yaml-cpp".
if(NOT TARGET yaml-cpp::yaml-cpp)
  add_library(yaml-cpp::yaml-cpp ALIAS yaml-cpp)
endif()

if(INDEXCACHE_ENABLE_CUDA)
  find_package(CUDAToolkit QUIET)
endif()
if(CUDAToolkit_FOUND)
  set(INDEXCACHE_CUDA_STATUS "found ${CUDAToolkit_VERSION}")
elseif(INDEXCACHE_ENABLE_CUDA)
  set(INDEXCACHE_CUDA_STATUS "not found: building for the CPU alone")
else()
  set(INDEXCACHE_CUDA_STATUS "disabled: building for the CPU alone")
endif()
message(STATUS "CUDA toolkit ${INDEXCACHE_CUDA_STATUS}")
