"""Requirements to hashed lockfiles. Entry points: ``variants``, ``make``, ``check``."""
