"""Names that stand in files, tables and arrays alike; nothing is imported for them."""

MODALITIES = ("text", "audio", "vision")
TARGETS = ("fusion", *MODALITIES)  # axis `m` of every stacked array
# Source: order of the labels in CMU-MOSEI (CMU-MultimodalSDK, "All Labels").
EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
