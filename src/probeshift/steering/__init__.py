"""Steering vectors: made, applied, judged, checked by rules, and moved between models."""
