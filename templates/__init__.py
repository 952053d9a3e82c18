"""What is rendered: one folder per obstacle, each file under the path it becomes."""
