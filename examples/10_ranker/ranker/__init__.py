"""A compact ranker for the device: tokenized features, UniMixing-Lite, and the models to hold it against."""
