"""Side-by-side measurements against llama.cpp's and llama-cpp-python's own servers."""
