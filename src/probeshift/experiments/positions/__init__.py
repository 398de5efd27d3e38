"""positions: one probe per layer and token position, cross-validated. `extract` reads the activations, `train` fits and judges."""
