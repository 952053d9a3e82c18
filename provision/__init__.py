"""The environment doctor and provisioning tool for large language models on your own machines."""

__version__ = "0.1.0"
