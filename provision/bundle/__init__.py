"""Making a bundle: one signed file that carries a site without a network. What reads one is ``provision.payload.bundle``."""
