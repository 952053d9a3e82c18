"""What leaves the house: code that runs on the target or in the container, and imports nothing of provision outside this folder."""  # noqa: E501
