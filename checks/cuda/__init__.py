"""Driver, CUDA, cuDNN, torch build and GPU architecture do not match."""
