"""Sentences -> hidden states: tokens, BERT and its weights, packing."""
