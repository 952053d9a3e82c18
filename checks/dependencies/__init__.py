"""Python packages or the container engine conflict or are missing."""
