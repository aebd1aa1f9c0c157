# Debian: apt-get install clang libomp-dev
set(CMAKE_CXX_COMPILER clang++)
