"""Nobody notices that something is wrong."""
