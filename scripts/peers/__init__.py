"""Comparisons with transformers, TRL and llama.cpp."""
