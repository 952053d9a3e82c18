"""What leaves the house: code that runs on the target or in the container. It imports nothing of ours outside this folder."""
