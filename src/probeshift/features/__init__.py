"""Sparse-autoencoder encoders, loaded by file format."""
